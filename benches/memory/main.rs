//! `cargo bench --bench memory`: see [`crossdock::bench::memory`].

fn main() -> std::io::Result<()> {
    crossdock::bench::memory::main()
}

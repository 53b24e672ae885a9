//! `xdock completions` and `xdock man`: what can be derived from the definition of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::failure::Failure;

pub fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "xdock", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// One page to standard output, or all of them into a directory.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Fills in what pages of subcommands inherit.
    command.build();
    match &args.dir {
        None => Ok(clap_mangen::Man::new(command).render(&mut io::stdout())?),
        Some(dir) => pages(command, dir).map_err(|error| Failure::new(&dir.display().to_string(), error, None)),
    }
}

fn pages(command: clap::Command, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command, dir)
}

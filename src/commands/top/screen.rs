//! The terminal while a page is redrawn on it. Dropping it gives the terminal back as it was.

use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Another screen without a cursor, and back (XTerm control sequences).
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal that takes keys as they are pressed. Ctrl-C stays a signal.
pub struct Screen {
    before: Termios,
}

impl Screen {
    pub fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        modes.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        let screen = Self { before };
        say(OPEN)?;
        Ok(screen)
    }

    /// Draws over what was there, as much as there is room for.
    pub fn draw(&self, page: &str) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout())?;
        let (rows, columns) = (usize::from(size.ws_row.max(2)), usize::from(size.ws_col.max(1)));
        let mut text = String::from("\x1b[H");
        for line in fit(page, rows - 1) {
            text.extend(line.chars().take(columns));
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[Jq: quit");
        say(&text)
    }

    /// Waits for a key; whether it is the one that ends it. So does the terminal's end.
    pub fn quits(&self, patience: Duration) -> bool {
        let timeout = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
        let stdin = io::stdin();
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout)) {
            Ok(1..) => {
                let mut key = [0];
                !matches!(rustix::io::read(&stdin, &mut key), Ok(1)) || key == *b"q"
            }
            // Interrupted by a signal, which the caller looks for.
            _ => false,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = say(CLOSE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The lines that there is room for: of too many, the beginning and the workers at the end.
fn fit(page: &str, room: usize) -> Vec<&str> {
    let lines: Vec<&str> = page.lines().collect();
    if lines.len() <= room {
        return lines;
    }
    let workers = lines.iter().rposition(|line| line.is_empty()).unwrap_or(lines.len());
    let tail = lines.len() - workers;
    let head = room.saturating_sub(tail);
    [&lines[..head], &lines[workers..][..tail.min(room)]].concat()
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_too_long_keeps_its_head_and_the_workers() {
        let page = "PORT\na\nb\nc\n\nWORKER\n0\n";
        assert_eq!(fit(page, 7).len(), 7);
        assert_eq!(fit(page, 5), ["PORT", "a", "", "WORKER", "0"]);
        assert_eq!(fit(page, 2), ["", "WORKER"]);
    }
}

//! The daemon's state on a terminal, drawn again and again.

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::Duration,
};

use rustix::termios::tcgetwinsize;

use super::{Failure, Outcome};

/// To the first cell; text takes the place of what was there, so nothing flickers. Lines that are too long are cut.
const HOME: &str = "\x1b[H\x1b[?7l";
/// Clears what is left of a line, and what is left of the screen, after which lines wrap again.
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J\x1b[?7h";

/// Draws what `text` gives every `interval`, until the terminal goes or a signal ends the program.
pub(super) fn run(interval: Duration, text: impl Fn() -> String) -> Outcome {
    if !io::stdout().is_terminal() {
        return Err(Failure::usage("--watch needs a terminal; programs read --json, or the metrics"));
    }
    let interval_text = format!("every {} s; Ctrl-C ends", interval.as_secs_f64());
    loop {
        // A terminal that does not know how high it is, such as a serial line, says 0.
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0);
        let rows = size.map_or(usize::MAX, |size| usize::from(size.ws_row));
        let screen = screen(&text(), rows, &interval_text);
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(screen.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::runtime)?;
        drop(stdout);
        thread::sleep(interval);
    }
}

/// The text with its last line, cut to so many rows.
fn screen(text: &str, rows: usize, last: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(2).max(1);
    let (shown, hidden) = if lines.len() > room { (room - 1, lines.len() - room + 1) } else { (lines.len(), 0) };
    let mut screen = HOME.to_owned();
    for line in lines.into_iter().take(shown) {
        screen.extend([line, REST_OF_LINE, "\n"]);
    }
    if hidden > 0 {
        screen.extend(["… and ", &hidden.to_string(), " more line(s)", REST_OF_LINE, "\n"]);
    }
    screen.extend([REST_OF_LINE, "\n", last, REST_OF_LINE, REST_OF_SCREEN]);
    screen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_never_higher_than_the_terminal() {
        let text = "a line\n".repeat(50);
        for rows in 1..80 {
            let drawn = screen(&text, rows, "the end");
            let height = drawn.matches('\n').count() + 1;
            assert!(height <= rows.max(3), "{height} of {rows}: {drawn:?}");
            assert!(drawn.ends_with("the end\x1b[K\x1b[J\x1b[?7h"), "{drawn:?}");
            assert_eq!(drawn.contains("more line(s)"), rows < 52, "{rows}");
        }
    }
}

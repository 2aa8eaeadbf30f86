//! Standard output: results go there, in the format that was asked for. The only place that writes to it.
//!
//! A reader that has gone (`| head -1`) is no failure, and ends what is done for it alone. An output that cannot take
//! the result, such as a full disk, is one.

use std::io::{self, ErrorKind, IsTerminal, Write};

use super::Format;
use crate::report::console::{self, Style};
use crate::report::junit::Document;
use crate::report::{Report, json};

/// Whether anybody reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As far as is known.
    There,
    /// The other end of the pipe is closed.
    Gone,
}

/// Prints a text and a line end.
///
/// # Errors
/// The output cannot take it, for another reason than that nobody reads it.
pub fn say(text: &str) -> io::Result<Reader> {
    let mut stdout = io::stdout();
    match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Colour and width on a terminal, plain lines elsewhere.
pub fn style() -> Style {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let width = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col).filter(|columns| *columns > 0);
    Style { colour: terminal && colour_is_wanted(), width: if terminal { width } else { None } }
}

/// NO_COLOR (no-color.org) switches colour off.
pub fn colour_is_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints reports as they come, or keeps them until the end where all must be one document.
pub struct Results {
    format: Format,
    document: Document,
}

impl Results {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        Self { format, document: Document::default() }
    }

    /// The format that was asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Takes one run.
    ///
    /// # Errors
    /// Those of [`say`].
    pub fn run(&mut self, report: &Report) -> io::Result<Reader> {
        match self.format {
            Format::Human => say(&console::table(report, style())),
            Format::Json => say(&json::verdict(report).to_string()),
            Format::Junit => {
                self.document.add_run(report);
                Ok(Reader::There)
            }
        }
    }

    /// Takes one of many seeds. For people they are counted, not told.
    ///
    /// # Errors
    /// Those of [`say`].
    pub fn seed(&mut self, report: &Report) -> io::Result<Reader> {
        match self.format {
            Format::Human => Ok(Reader::There),
            Format::Json => say(&json::verdict(report).to_string()),
            Format::Junit => {
                self.document.add_seed(report);
                Ok(Reader::There)
            }
        }
    }

    /// Takes a scenario that could not be run: a document must not pass for what it lacks.
    pub fn failure(&mut self, scenario: &str, message: &str) {
        if self.format == Format::Junit {
            self.document.add_failure(scenario, message);
        }
    }

    /// Prints what was kept. However the work ended: half a document is none.
    ///
    /// # Errors
    /// Those of [`say`].
    pub fn finish(self) -> io::Result<Reader> {
        match self.format {
            Format::Human | Format::Json => Ok(Reader::There),
            Format::Junit => say(&self.document.to_xml().map_err(io::Error::other)?),
        }
    }
}

//! Cuts a stream of EDN into top-level forms, one op each, without holding more than one of them.
//!
//! Jepsen writes one op a line; printed histories may be one vector of maps, or maps over several lines. This knows only
//! as much of EDN as it takes to find where a form ends: brackets, strings, characters, comments. What stands inside is
//! the reader's business.

use std::io::BufRead;

/// An op is a line of text; nobody's is as long as this.
const LONGEST: usize = 1 << 20;

/// Why no further form could be cut.
#[derive(Debug)]
pub(super) enum CutError {
    /// The stream cannot be read.
    Io(std::io::Error),
    /// It is not a sequence of maps: the line, and what is wrong.
    Malformed(usize, String),
}

/// The forms of a stream.
pub(super) struct Forms<R> {
    reader: R,
    line: usize,
    /// The bracket around all forms, if there is one that is still open.
    around: Option<u8>,
    /// Whether anything has been read of what may have a bracket around it.
    begun: bool,
    form: Form,
}

#[derive(Default)]
struct Form {
    text: Vec<u8>,
    line: usize,
    open: Vec<u8>,
    within: Within,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Nothing,
    String,
    /// After a backslash in a string.
    Escape,
    /// After a backslash outside: the next character stands for itself.
    Character,
    Comment,
}

impl<R: BufRead> Forms<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: 1, around: None, begun: false, form: Form::default() }
    }

    /// The next form and the line on which it begins.
    pub(super) fn next(&mut self) -> Result<Option<(usize, String)>, CutError> {
        loop {
            let chunk = self.reader.fill_buf().map_err(CutError::Io)?;
            if chunk.is_empty() {
                return self.end();
            }
            let mut used = 0;
            let mut whole = None;
            for byte in chunk {
                used += 1;
                let line = self.line;
                self.line += usize::from(*byte == b'\n');
                match step(&mut self.form, &mut self.around, &mut self.begun, line, *byte) {
                    Ok(false) => {}
                    Ok(true) => {
                        whole = Some(std::mem::take(&mut self.form));
                        break;
                    }
                    Err(reason) => return Err(CutError::Malformed(line, reason)),
                }
            }
            self.reader.consume(used);
            if let Some(form) = whole {
                let text = String::from_utf8(form.text)
                    .map_err(|_| CutError::Malformed(form.line, "not UTF-8; histories are text".to_owned()))?;
                return Ok(Some((form.line, text)));
            }
        }
    }

    fn end(&mut self) -> Result<Option<(usize, String)>, CutError> {
        let unfinished = !self.form.text.is_empty() || self.around.is_some();
        if unfinished {
            let line = if self.form.text.is_empty() { self.line } else { self.form.line };
            let reason = "the file ends in the middle of this; it was cut off, or a bracket is missing";
            return Err(CutError::Malformed(line, reason.to_owned()));
        }
        Ok(None)
    }
}

/// Takes a byte; true if it ends a form.
fn step(form: &mut Form, around: &mut Option<u8>, begun: &mut bool, line: usize, byte: u8) -> Result<bool, String> {
    let outside = form.open.is_empty();
    let within = form.within;
    form.within = match (within, byte) {
        (Within::Comment, b'\n') => Within::Nothing,
        (Within::Comment, _) => return Ok(false),
        (Within::String, b'\\') => Within::Escape,
        (Within::String, b'"') | (Within::Character, _) => Within::Nothing,
        (Within::String | Within::Escape, _) => Within::String,
        (Within::Nothing, b';') => Within::Comment,
        (Within::Nothing, b'"') => Within::String,
        (Within::Nothing, b'\\') => Within::Character,
        (Within::Nothing, _) => Within::Nothing,
    };
    if form.within == Within::Comment {
        return Ok(false);
    }
    let plain = within == Within::Nothing && form.within == Within::Nothing;
    if outside && form.text.is_empty() {
        match byte {
            b'[' | b'(' if !*begun => {
                *begun = true;
                *around = Some(closing(byte));
                return Ok(false);
            }
            _ if Some(byte) == *around => {
                *around = None;
                return Ok(false);
            }
            _ if byte.is_ascii_whitespace() || byte == b',' => return Ok(false),
            b'{' | b'#' => form.line = line,
            _ => return Err("not an op; an op is a map such as {:process 0, :type :invoke, :f :acquire}".to_owned()),
        }
        *begun = true;
    }
    form.text.push(byte);
    if form.text.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes; no op is: a bracket or a quote is missing"));
    }
    match byte {
        b'{' | b'[' | b'(' if plain => form.open.push(closing(byte)),
        b'}' | b']' | b')' if plain => {
            if form.open.pop() != Some(byte) {
                return Err(format!("`{}` closes nothing", char::from(byte)));
            }
            return Ok(form.open.is_empty());
        }
        _ => {}
    }
    Ok(false)
}

fn closing(opening: u8) -> u8 {
    match opening {
        b'{' => b'}',
        b'[' => b']',
        _ => b')',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(text: &str) -> Result<Vec<(usize, String)>, (usize, String)> {
        // A small buffer, so that forms lie across its ends.
        let mut forms = Forms::new(std::io::BufReader::with_capacity(3, text.as_bytes()));
        let mut all = Vec::new();
        loop {
            match forms.next() {
                Ok(Some(form)) => all.push(form),
                Ok(None) => return Ok(all),
                Err(CutError::Malformed(line, reason)) => return Err((line, reason)),
                Err(CutError::Io(error)) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn forms_are_cut_wherever_lines_end() {
        let expected =
            vec![(2, "{:a \"}\\\"\"}".to_owned()), (2, "#x.Op{:c \\}}".to_owned()), (3, "{:d\n [1 2]}".to_owned())];
        let forms_told = "{:a \"}\\\"\"}, #x.Op{:c \\}}\n{:d\n [1 2]}\n";
        for (before, after) in [("; all ops {\n", ""), ("[\n", "]"), ("(\n", ") ; the end")] {
            assert_eq!(forms(&format!("{before}{forms_told}{after}")), Ok(expected.clone()));
        }
        assert_eq!(forms(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_sequence_of_maps_is_refused_with_its_line() {
        let long = format!("\n{{:a \"{}", "x".repeat(LONGEST));
        for (text, line) in
            [("{}\n{:a", 2), ("{}\n:a", 2), ("[{}\n", 2), ("{}\n[{}]", 2), ("{:a ]}", 1), ("}", 1), (&long, 2)]
        {
            assert_eq!(forms(text).unwrap_err().0, line, "{:.40}", text);
        }
    }
}

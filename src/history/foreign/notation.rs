//! Clojure's notation and JSON's, read in place: one cursor for both.
//!
//! JSON is read as EDN in which a colon may follow a key: commas are blanks, strings are written alike, `null` is a
//! symbol that means nil. What nobody asks for is skipped, and only its brackets, strings and prefixes are looked at: a
//! reader of lock histories has no use for what `5M`, `##NaN`, `#object[…]` or `^{:line 1} x` stand for, but must find
//! their end. Nothing here recurses, whatever a file says.

use std::borrow::Cow;

/// Why a form could not be read.
#[derive(Debug)]
pub(super) enum Stop {
    /// The text ends within it.
    End,
    /// Where it is not what it should be, and what is wrong.
    Bad(usize, &'static str),
}

/// One form. What is made of others is kept as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Nil,
    Bool(bool),
    /// As it is written: `5`, `5N`, `0xFF`, `1/2`, `##NaN`.
    Number(&'a str),
    /// A keyword without its colon, or a symbol.
    Word(&'a str),
    Text(Cow<'a, str>),
    /// A vector, a list, a set.
    Seq(&'a str),
    Map(&'a str),
    /// A character, a regular expression, an object that cannot be read.
    Other(&'a str),
}

/// A place in a text.
pub(super) struct Cursor<'a> {
    text: &'a str,
    pub(super) at: usize,
    open: Vec<u8>,
}

/// Ends a number, a word, a tag.
const fn is_end(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b'\r' | b',' | b'"' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | 0x0c | b'^'
    )
}

const ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        ends[byte] = is_end(byte as u8);
        byte += 1;
    }
    ends
};

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | 0x0c)
}

const fn closing(bracket: u8) -> u8 {
    match bracket {
        b'{' => b'}',
        b'[' => b']',
        _ => b')',
    }
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, open: Vec::new() }
    }

    /// The byte here.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn peek_next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at + 1).copied()
    }

    /// Goes past blanks and comments.
    fn blanks(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                byte if is_blank(*byte) => self.at += 1,
                b';' => self.line(),
                b'#' if bytes.get(self.at + 1) == Some(&b'!') => self.line(),
                // A byte order mark.
                0xEF if bytes[self.at..].starts_with(&[0xEF, 0xBB, 0xBF]) => self.at += 3,
                _ => return,
            }
        }
    }

    fn line(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }

    /// Goes to the beginning of the next form, or to a closing bracket, or to the end: past blanks, comments, what is
    /// discarded (`#_`), metadata.
    pub(super) fn seek_form(&mut self) -> Result<Option<u8>, Stop> {
        loop {
            self.blanks();
            match self.peek() {
                Some(b'#') if matches!(self.peek_next(), Some(b'_' | b'^')) => {
                    self.at += 2;
                    self.skip()?;
                }
                // A hash at the very end may be the beginning of anything.
                Some(b'#') if self.peek_next().is_none() => return Err(Stop::End),
                Some(b'^') => {
                    self.at += 1;
                    self.skip()?;
                }
                byte => return Ok(byte),
            }
        }
    }

    /// Up to where a number, a word or a tag ends. One that the text ends with may go on in the next part of it.
    fn token(&mut self) -> Result<&'a str, Stop> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if ENDS[*byte as usize] {
                return Ok(&self.text[start..self.at]);
            }
            // A backslash is a part of a character only, and that begins with it.
            self.at += 1;
        }
        Err(Stop::End)
    }

    /// A character: `\a`, `\newline`, `\u0041`, `\(`.
    fn character(&mut self) -> Result<(), Stop> {
        self.at += 1;
        let letter = self.text[self.at..].chars().next().ok_or(Stop::End)?;
        self.at += letter.len_utf8();
        if letter.is_alphanumeric() { self.token().map(drop) } else { Ok(()) }
    }

    /// A string; the cursor is on its quote.
    fn string(&mut self) -> Result<Value<'a>, Stop> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut is_plain = true;
        loop {
            match bytes.get(at) {
                None => return Err(Stop::End),
                Some(b'"') => break,
                Some(b'\\') => {
                    is_plain = false;
                    at += 2;
                }
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        let inner = &self.text[start..at];
        Ok(Value::Text(if is_plain { Cow::Borrowed(inner) } else { Cow::Owned(unescaped(inner)) }))
    }

    /// Goes past one form.
    pub(super) fn skip(&mut self) -> Result<(), Stop> {
        let bytes = self.text.as_bytes();
        // How many forms there are to go past, outside of brackets.
        let mut owed = 1usize;
        self.open.clear();
        while owed > 0 || !self.open.is_empty() {
            self.blanks();
            let byte = self.peek().ok_or(Stop::End)?;
            let mut is_whole = true;
            match byte {
                b'{' | b'[' | b'(' => {
                    self.open.push(closing(byte));
                    self.at += 1;
                    is_whole = false;
                }
                b'}' | b']' | b')' => {
                    if self.open.pop() != Some(byte) {
                        return Err(Stop::Bad(self.at, "a bracket closes nothing"));
                    }
                    self.at += 1;
                }
                b'"' => {
                    // Without its text.
                    let mut at = self.at + 1;
                    loop {
                        match bytes.get(at) {
                            None => return Err(Stop::End),
                            Some(b'"') => break,
                            Some(b'\\') => at += 2,
                            Some(_) => at += 1,
                        }
                    }
                    self.at = at + 1;
                }
                b'\\' => self.character()?,
                b'^' => {
                    self.at += 1;
                    owed += usize::from(self.open.is_empty());
                    is_whole = false;
                }
                b'\'' | b'`' | b'@' | b'~' => {
                    self.at += 1;
                    is_whole = false;
                }
                b'#' => is_whole = self.dispatch(&mut owed)?,
                _ => drop(self.token()?),
            }
            owed -= usize::from(is_whole && self.open.is_empty());
        }
        Ok(())
    }

    /// Goes past a hash and what belongs to it; whether that was a whole form.
    fn dispatch(&mut self, owed: &mut usize) -> Result<bool, Stop> {
        let outside = self.open.is_empty();
        match self.peek_next().ok_or(Stop::End)? {
            b'_' | b'^' => {
                self.at += 2;
                *owed += usize::from(outside);
                Ok(false)
            }
            b'#' => {
                self.at += 2;
                self.token().map(|_| true)
            }
            b'<' => self.unreadable().map(|()| true),
            b'{' | b'(' | b'"' | b'\'' => {
                self.at += 1;
                Ok(false)
            }
            _ => {
                self.at += 1;
                self.tag().map(|()| false)
            }
        }
    }

    /// What stands between a hash and the form that it is about: `inst`, `jepsen.history.Op`, `:jepsen`, `?`.
    fn tag(&mut self) -> Result<(), Stop> {
        let at = self.at;
        let tag = self.token()?;
        if tag.starts_with(|letter: char| letter.is_alphabetic() || matches!(letter, ':' | '?' | '_')) {
            Ok(())
        } else {
            Err(Stop::Bad(at, "no tag has this name"))
        }
    }

    /// `#<Object …>`, as old Clojure prints what has no notation.
    fn unreadable(&mut self) -> Result<(), Stop> {
        let bytes = self.text.as_bytes();
        let mut depth = 0usize;
        loop {
            match bytes.get(self.at).ok_or(Stop::End)? {
                b'<' => depth += 1,
                b'>' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && bytes[self.at - 1] == b'>' {
                return Ok(());
            }
        }
    }

    /// Goes past the tags of the form that is here.
    pub(super) fn past_tags(&mut self) -> Result<(), Stop> {
        while self.peek() == Some(b'#')
            && self.peek_next().is_none_or(|next| next.is_ascii_alphabetic() || next == b':')
        {
            self.at += 1;
            self.tag()?;
            self.seek_form()?;
        }
        Ok(())
    }

    /// The next form, or nothing at a closing bracket and at the end.
    pub(super) fn value(&mut self) -> Result<Option<Value<'a>>, Stop> {
        loop {
            let Some(byte) = self.seek_form()? else { return Ok(None) };
            let start = self.at;
            let value = match byte {
                b'}' | b']' | b')' => return Ok(None),
                b'"' => self.string()?,
                b':' => {
                    self.at += 1;
                    Value::Word(self.token()?.trim_start_matches(':'))
                }
                b'{' => {
                    self.skip()?;
                    Value::Map(&self.text[start..self.at])
                }
                b'[' | b'(' => {
                    self.skip()?;
                    Value::Seq(&self.text[start..self.at])
                }
                b'\\' => {
                    self.character()?;
                    Value::Other(&self.text[start..self.at])
                }
                b'\'' | b'`' | b'@' | b'~' => {
                    self.at += 1;
                    continue;
                }
                b'#' => match self.peek_next().ok_or(Stop::End)? {
                    b'{' | b'(' => {
                        self.at += 1;
                        self.skip()?;
                        Value::Seq(&self.text[start + 1..self.at])
                    }
                    b'"' | b'<' => {
                        self.skip()?;
                        Value::Other(&self.text[start..self.at])
                    }
                    b'#' => {
                        self.at += 2;
                        self.token()?;
                        Value::Number(&self.text[start..self.at])
                    }
                    b'\'' => {
                        self.at += 2;
                        continue;
                    }
                    // A tag says what its form is to become, and here it stays as it is.
                    _ => {
                        self.at += 1;
                        self.tag()?;
                        continue;
                    }
                },
                b'+' | b'-' if self.peek_next().is_some_and(|next| next.is_ascii_digit()) => {
                    Value::Number(self.token()?)
                }
                b'0'..=b'9' => Value::Number(self.token()?),
                _ => match self.token()? {
                    "nil" | "null" => Value::Nil,
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    word => Value::Word(word),
                },
            };
            return Ok(Some(value));
        }
    }

    /// The key of the next entry of a map, or nothing at its end. Keys that are no names are empty.
    pub(super) fn key(&mut self) -> Result<Option<Cow<'a, str>>, Stop> {
        self.blanks();
        if self.peek() == Some(b':') {
            self.at += 1;
            return Ok(Some(Cow::Borrowed(self.token()?)));
        }
        let key = match self.value()? {
            None => return Ok(None),
            Some(Value::Word(key)) => return Ok(Some(Cow::Borrowed(key))),
            Some(Value::Text(key)) => key,
            Some(_) => return Ok(Some(Cow::Borrowed(""))),
        };
        // JSON's colon. Of a keyword after a string it takes the colon, which says no more than its text.
        self.blanks();
        match self.peek() {
            Some(b':') => self.at += 1,
            None => return Err(Stop::End),
            _ => {}
        }
        Ok(Some(key))
    }

    /// Goes past a bracket that must be here.
    pub(super) fn close(&mut self, bracket: u8) -> Result<(), Stop> {
        match self.seek_form()? {
            None => Err(Stop::End),
            Some(byte) if byte == bracket => {
                self.at += 1;
                Ok(())
            }
            Some(b'}' | b']' | b')') => Err(Stop::Bad(self.at, "a bracket closes nothing")),
            Some(_) => Err(Stop::Bad(self.at, "a bracket is missing")),
        }
    }
}

/// What a string says, its escapes replaced; one that is none stays as it is.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let mut letters = rest[at + 1..].chars();
        let letter = letters.next().unwrap_or('\\');
        rest = letters.as_str();
        match letter {
            'n' => plain.push('\n'),
            't' => plain.push('\t'),
            'r' => plain.push('\r'),
            'b' => plain.push('\u{8}'),
            'f' => plain.push('\u{c}'),
            'u' => {
                let (letter, after) = unicode(rest);
                plain.push(letter);
                rest = after;
            }
            other => plain.push(other),
        }
    }
    plain + rest
}

/// A letter by its four hexadecimal digits, or by two times four, as JSON writes those beyond them.
fn unicode(text: &str) -> (char, &str) {
    let digits = |text: &str| text.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(first) = digits(text) else { return (char::REPLACEMENT_CHARACTER, text) };
    let after = &text[4..];
    if let (0xD800..0xDC00, Some(second @ 0xDC00..0xE000)) = (first, after.strip_prefix("\\u").map_or(Some(0), digits))
    {
        let letter = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (char::from_u32(letter).unwrap_or(char::REPLACEMENT_CHARACTER), &after[6..]);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), after)
}

impl<'a> Value<'a> {
    /// What a map that was read has under a key.
    #[cfg(test)]
    fn get(&self, name: &str) -> Option<Value<'a>> {
        self.entries().find(|(key, value)| key == name && *value != Value::Nil).map(|(_, value)| value)
    }

    /// The entries of a map that was read.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> + use<'a> {
        let text = if let Value::Map(text) = self { &text[1..] } else { "}" };
        let mut cursor = Cursor::new(text);
        std::iter::from_fn(move || Some((cursor.key().ok()??, cursor.value().ok()??)))
    }

    /// The forms in a vector, a list or a set that was read.
    pub(super) fn items(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let text = if let Value::Seq(text) = self { &text[1..] } else { "]" };
        let mut cursor = Cursor::new(text);
        std::iter::from_fn(move || cursor.value().ok().flatten())
    }

    /// A vector of two, as `jepsen.independent` makes them of a key and a value.
    pub(super) fn pair(&self) -> Option<(Value<'a>, Value<'a>)> {
        let Value::Seq(text) = self else { return None };
        if !text.starts_with('[') {
            return None;
        }
        let mut items = self.items();
        let pair = (items.next()?, items.next()?);
        items.next().is_none().then_some(pair)
    }

    /// A keyword, symbol or string as text.
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Value::Word(word) => Some(word),
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number.
    pub(super) fn number(&self) -> Option<i128> {
        let Value::Number(text) = self else { return None };
        whole(text)
    }

    /// The value as a name: a keyword, a symbol and a string of the same letters are one name, and so is a number.
    pub(super) fn name(&self) -> Cow<'_, str> {
        match self {
            Value::Nil => Cow::Borrowed("nil"),
            Value::Bool(is) => Cow::Borrowed(if *is { "true" } else { "false" }),
            Value::Number(text) => Cow::Borrowed(text.trim_end_matches('N')),
            Value::Word(word) => Cow::Borrowed(word),
            Value::Text(text) => Cow::Borrowed(text),
            Value::Seq(text) | Value::Map(text) => Cow::Owned(packed(text)),
            Value::Other(text) => Cow::Borrowed(text),
        }
    }

    /// The value as it would be written, for an error or for a reader.
    pub(super) fn written(&self) -> String {
        match self {
            Value::Text(text) => format!("{text:?}"),
            Value::Word(word) => format!(":{word}"),
            Value::Number(text) => (*text).to_owned(),
            other => other.name().into_owned(),
        }
    }
}

/// What stands in brackets, with one blank for any number of blanks and commas outside of strings.
fn packed(text: &str) -> String {
    let mut packed = String::with_capacity(text.len());
    let (mut within, mut escaped) = (false, false);
    for letter in text.chars() {
        if within {
            within = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            packed.push(letter);
        } else if letter.is_ascii() && is_blank(letter as u8) {
            if !packed.ends_with([' ', '[', '(', '{']) {
                packed.push(' ');
            }
        } else {
            within = letter == '"';
            if matches!(letter, ']' | ')' | '}') && packed.ends_with(' ') {
                packed.pop();
            }
            packed.push(letter);
        }
    }
    packed
}

/// A whole number in any of Clojure's ways to write one; also one that is written with a fraction of zero.
fn whole(text: &str) -> Option<i128> {
    // The way that nearly all are written.
    if let Ok(number) = text.parse::<i64>()
        && (text.len() == 1 || !text.starts_with('0'))
    {
        return Some(number.into());
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.strip_suffix('N').unwrap_or(digits);
    let lower = digits.to_ascii_lowercase();
    let radix = lower.split_once('r').and_then(|(radix, digits)| Some((radix.parse().ok()?, digits)));
    let number = if let Some(digits) = lower.strip_prefix("0x") {
        i128::from_str_radix(digits, 16).ok()
    } else if let Some((radix @ 2..=36, digits)) = radix {
        i128::from_str_radix(digits, radix).ok()
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|digit| digit.is_ascii_digit()) {
        i128::from_str_radix(&lower, 8).ok()
    } else if lower.bytes().all(|digit| digit.is_ascii_digit()) {
        lower.parse().ok()
    } else {
        let decimal: f64 = lower.strip_suffix('m').unwrap_or(&lower).parse().ok()?;
        (decimal.fract() == 0.0 && decimal < 1e18).then_some(decimal as i128)
    };
    number.map(|number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(text: &str) -> Vec<String> {
        let text = format!("[{text}]");
        Value::Seq(&text).items().map(|value| value.written()).collect()
    }

    #[test]
    fn all_of_clojures_printing_is_gone_past() {
        let unread = [
            "5N",
            "5M",
            "-1.5e3",
            "1/2",
            "##NaN",
            "##Inf",
            "\\a",
            "\\newline",
            "\\u0041",
            "\\(",
            "\\\"",
            "nil",
            "true",
            "\"a \\\" ] b\"",
            "#inst \"2026-01-01\"",
            "#uuid \"x\"",
            "#\"a[b\"",
            "#{1 2}",
            "'x",
            "#'a/b",
            "@x",
            "^{:line 1} x",
            "^:private x",
            "#:jepsen{:a 1}",
            "#::{:a 1}",
            "#object[java.lang.Object 0x1 \"x\"]",
            "#<Object a<b>>",
            "#jepsen.history.Op{:a [1 {:b 2}]}",
            "#_ gone x",
            "#_ #_ a b x",
            "; to the end ]\n x",
            "#_#a.B{} x",
            "a/b",
            "+",
            "-",
            ".5x",
        ];
        for form in unread {
            let text = format!("{{:a {form} :b 2}}");
            let map = Value::Map(&text);
            assert_eq!(map.get("b"), Some(Value::Number("2")), "{form}");
            assert_eq!(map.entries().count(), 2, "{form}");
            let mut cursor = Cursor::new(&text);
            cursor.skip().unwrap();
            assert_eq!(cursor.at, text.len(), "{form}");
        }
    }

    #[test]
    fn json_is_read_as_edn_with_colons() {
        let text = r#"{"a":1,"b" : [1, {"c":"d\/\u00e9\ud83d\ude00"}],"e":null,"f":true,"g":-1.5e3,"h":{}}"#;
        let map = Value::Map(text);
        assert_eq!(map.entries().count(), 6);
        assert_eq!(map.get("a").unwrap().number(), Some(1));
        assert_eq!(map.get("b").unwrap().items().nth(1).unwrap().get("c").unwrap().word(), Some("d/é😀"));
        assert_eq!((map.get("e"), map.get("f")), (None, Some(Value::Bool(true))));
        assert_eq!(map.get("g").unwrap().number(), Some(-1500));
    }

    #[test]
    fn numbers_are_read_however_they_are_written() {
        let numbers = [
            ("5", 5),
            ("5N", 5),
            ("-7", -7),
            ("+7", 7),
            ("0", 0),
            ("0xABC0", 0xABC0),
            ("017", 15),
            ("2r101", 5),
            ("5.0", 5),
        ];
        for (text, number) in numbers {
            assert_eq!(Value::Number(text).number(), Some(number), "{text}");
        }
        for text in ["1.5", "1/2", "##NaN", "5x", "99999999999999999999999999999999999999999999"] {
            assert_eq!(Value::Number(text).number(), None, "{text}");
        }
    }

    #[test]
    fn names_do_not_depend_on_blanks() {
        assert_eq!(forms("[1,  2] [ 1 2 ] [1 2]").len(), 3);
        let names: Vec<String> =
            ["[1,  \"a, b\"]", "[ 1 \"a, b\" ]"].map(|text| Value::Seq(text).name().into_owned()).into();
        assert_eq!(names[0], names[1]);
        assert_eq!(names[0], "[1 \"a, b\"]");
    }

    #[test]
    fn nothing_in_a_text_makes_it_panic_or_recurse() {
        for text in ["#_", "#", "^", "\\", "\"\\", "#<", "{:a", "##", "#:a", "'"] {
            let _ = Cursor::new(&text.repeat(100_000)).skip();
            assert!(!matches!(Cursor::new(text).value(), Ok(Some(_))), "{text}");
        }
        assert!(matches!(Cursor::new("}").skip(), Err(Stop::Bad(0, _))));
        assert!(matches!(Cursor::new("{]").skip(), Err(Stop::Bad(1, _))));
    }
}

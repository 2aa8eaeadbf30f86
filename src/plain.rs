//! Text of others as text: what a scenario, a history or a server says must not steer a terminal, break a line, or turn
//! the order of what is read.

use std::borrow::Cow;

/// The text with every control character, line break and mark of direction spelled out, as `\u{1b}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let spell = |c: char| match c {
        '\n' | '\r' | '\t' => c.escape_default().to_string(),
        c if steers(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    Cow::Owned(text.chars().map(spell).collect())
}

/// The same of a whole page, which may have line breaks and tabs.
pub fn plain_page(text: String) -> String {
    let steers = |c: char| steers(c) && !matches!(c, '\n' | '\t');
    if !text.chars().any(steers) {
        return text;
    }
    text.chars().fold(String::with_capacity(text.len()), |mut told, c| {
        if steers(c) {
            told.extend(c.escape_unicode())
        } else {
            told.push(c)
        }
        told
    })
}

/// Controls, separators of lines and paragraphs, and what Unicode has for the direction of text (UAX #9).
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_spelled_out_and_the_rest_stays() {
        assert!(matches!(plain("Größe · 日本 – „quoted“"), Cow::Borrowed(_)));
        let table = [
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("a\u{2028}b\u{7f}\0", "a\\u{2028}b\\u{7f}\\u{0}"),
        ];
        for (text, told) in table {
            assert_eq!(plain(text), told);
        }
    }
}

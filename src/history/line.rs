//! An op's line as this crate writes it, read in one go: nearly all lines are like that.
//!
//! Fields stand in their order, with nothing between them, and strings have no escapes. Any other line is none of this
//! reader's business: `serde_json` reads it, and tells what is wrong with it. What both read they read alike, which the
//! tests compare. Deliberately absent: errors.

use rustc_hash::FxHashMap;

use super::op::{F, ItemValue, NAMED_PROCESSES, Op, OpType, Process};
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::time::Nanos;

/// Names of locks that were met: equal ones share their text.
#[derive(Default)]
pub(super) struct Names {
    last: Option<LockName>,
    known: FxHashMap<String, LockName>,
}

impl Names {
    /// The name, as it was met first.
    pub fn shared(&mut self, name: &str) -> LockName {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_str() == name) {
            return last.clone();
        }
        let lock = match self.known.get(name) {
            Some(lock) => lock.clone(),
            None => {
                let lock = LockName::new(name);
                self.known.insert(name.to_owned(), lock.clone());
                lock
            }
        };
        self.last = Some(lock.clone());
        lock
    }
}

/// What is left of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Goes past a text, if it is here.
    fn past(&mut self, text: &str) -> bool {
        match self.0.strip_prefix(text.as_bytes()) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// A whole number as JSON has it: no sign, no leading zero.
    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 20 || (digits > 1 && self.0[0] == b'0') {
            return None;
        }
        let (digits, rest) = self.0.split_at(digits);
        let number = digits
            .iter()
            .try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
        self.0 = rest;
        Some(number)
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// A string without escapes, behind its opening quote.
    fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }
}

/// Reads a line with an op that is written as this crate writes it.
pub(super) fn op(line: &[u8], names: &mut Names) -> Option<Op> {
    let mut rest = Rest(line);
    let index = rest.past("{\"index\":").then(|| rest.small())??;
    let time = rest.past(",\"time\":").then(|| rest.number())??;
    if !rest.past(",\"process\":") {
        return None;
    }
    let process = if rest.past("\"") {
        let name = rest.text()?;
        NAMED_PROCESSES.iter().find(|(_, named)| *named == name)?.0
    } else {
        Process::Client(rest.small()?)
    };
    let kind = match rest.past(",\"type\":\"").then(|| rest.text())?? {
        "invoke" => OpType::Invoke,
        "ok" => OpType::Ok,
        "fail" => OpType::Fail,
        "info" => OpType::Info,
        _ => return None,
    };
    let f = match rest.past(",\"f\":\"").then(|| rest.text())?? {
        "acquire" => F::Acquire,
        "release" => F::Release,
        "extend" => F::Extend,
        "lost" => F::Lost,
        "read" => F::Read,
        "write" => F::Write,
        _ => return None,
    };
    let mut op = Op::new(Nanos(time), process, kind, f);
    op.index = index;
    if rest.past(",\"client\":") {
        op.client = Some(ClientId(rest.small()?));
    }
    if rest.past(",\"lock\":\"") {
        op.lock = Some(names.shared(rest.text()?));
    }
    if rest.past(",\"hold\":\"") {
        op.hold = Some(HoldId::new(rest.text()?));
    }
    if rest.past(",\"value\":{\"item\":") {
        let item = rest.small()?;
        let is_positive = rest.past(",\"stock\":").then(|| !rest.past("-"))?;
        let stock = i64::try_from(rest.number()?).ok()?;
        // A zero below zero is a fraction to JSON.
        if stock == 0 && !is_positive {
            return None;
        }
        let version = if rest.past(",\"version\":") { Some(rest.small()?) } else { None };
        let based_on = if rest.past(",\"based-on\":") { Some(rest.small()?) } else { None };
        if !rest.past("}") {
            return None;
        }
        op.value = Some(ItemValue { item, stock: if is_positive { stock } else { -stock }, version, based_on });
    }
    if rest.past(",\"token\":") {
        op.token = Some(FencingToken(rest.number()?));
    }
    if rest.past(",\"valid-until\":") {
        op.valid_until = Some(Nanos(rest.number()?));
    }
    (rest.past("}") && matches!(rest.0, b"" | b"\n")).then_some(op)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 8] = [
        r#"{"index":3,"time":5,"process":1,"type":"ok","f":"write","client":1,"lock":"l","hold":"c1-2","value":{"item":1,"stock":-4,"version":2,"based-on":1},"token":7,"valid-until":9}"#,
        r#"{"index":0,"time":18446744073709551615,"process":"resource","type":"fail","f":"read","client":1,"hold":"x","value":{"item":1,"stock":0}}"#,
        r#"{"index":3,"time":5,"process":1,"type":"invoke","f":"acquire","client":1,"lock":"a\"b","hold":"c1-2"}"#,
        r#"{"index":3,"time":5,"process":1,"type":"invoke","f":"acquire","client":1,"lock":"é","hold":"c01-2"}"#,
        r#"{"index":3,"time":5,"process":1,"type":"info","f":"crash","client":1}"#,
        r#"{"index":3,"time":5,"process":1,"type":"info","f":"release","client":1,"lock":"l","hold":"c1-2","error":"gone"}"#,
        r#"{"index":3, "time":5,"process":1,"type":"ok","f":"acquire"}"#,
        r#"{"index":3,"time":5,"process":1,"type":"ok","f":"extend","client":1,"lock":"l","hold":"c1-2","valid-until":9}"#,
    ];

    #[test]
    fn what_is_read_is_what_serde_reads() {
        let mut fast = 0;
        for line in LINES {
            let slow: Op = serde_json::from_str(line).unwrap();
            let read = op(line.as_bytes(), &mut Names::default());
            fast += usize::from(read.is_some());
            assert!(read.is_none_or(|read| read == slow), "{line}");
        }
        assert_eq!(fast, 4, "lines as they are written");
    }

    #[test]
    fn a_line_that_is_changed_anywhere_is_read_alike_or_not_at_all() {
        for line in LINES {
            for at in 0..line.len() {
                for byte in b"0-9\"\\,:{} \n\x7fe." {
                    let mut changed = line.as_bytes().to_vec();
                    changed[at] = *byte;
                    let Some(read) = op(&changed, &mut Names::default()) else { continue };
                    let slow: Op = serde_json::from_slice(&changed).expect("what is read is an op");
                    assert_eq!(read, slow, "{}", String::from_utf8_lossy(&changed));
                }
                assert!(op(&line.as_bytes()[..at], &mut Names::default()).is_none(), "cut off: {}", &line[..at]);
            }
        }
    }
}

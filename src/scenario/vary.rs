//! One knob of a scenario over a range: the text of the file with another value in one place, and everything else as it
//! stands.
//!
//! Deliberately absent: what the values mean; each text is read and validated as any scenario file is.

use toml::de::{DeTable, DeValue};

use super::duration;

/// How many values a range has, if nothing else is said.
pub const STEPS: usize = 7;

/// Why a knob cannot be varied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaryError {
    /// It is not of the form `KEY=FROM..TO` or `KEY=A,B,C`.
    #[error("`{0}` is no knob and range: give KEY=FROM..TO or KEY=A,B,C, such as lock.redlock.ttl=0.5s..5s")]
    Form(String),
    /// The two ends cannot be put on one scale.
    #[error("`{0}` is no range: give two durations, or two numbers above 0 with the same unit, the lower one first")]
    Range(String),
    /// The file has no such key.
    #[error("the scenario file has no value at `{key}`: {problem}; write it there first")]
    NoSuchKey {
        /// The key, from the file's top on.
        key: String,
        /// Where the way ends.
        problem: String,
    },
    /// The file is no TOML.
    #[error("the scenario file cannot be read: {0}")]
    Syntax(String),
}

/// A knob and its values, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Knob {
    /// From the file's top on: `lock.redlock.ttl`, `fault.pause.for`.
    pub key: String,
    /// Each value as it is to stand in the file, and as a number for a scale: seconds for durations.
    pub values: Vec<(String, f64)>,
}

impl Knob {
    /// Reads `KEY=FROM..TO` or `KEY=A,B,C`.
    ///
    /// # Errors
    /// It is of another form.
    pub fn parse(text: &str) -> Result<Self, VaryError> {
        let form = || VaryError::Form(text.to_owned());
        let (key, values) = text.split_once('=').ok_or_else(form)?;
        let (key, values) = (key.trim(), values.trim());
        if key.is_empty() || values.is_empty() {
            return Err(form());
        }
        let values = match values.split_once("..") {
            Some((from, to)) => range(values, from.trim(), to.trim())?,
            None => {
                let each = |(place, value): (usize, &str)| {
                    let value = value.trim();
                    let scale = seconds(value).or_else(|| measured(value).map(|(number, _)| number));
                    (value.to_owned(), scale.unwrap_or(place as f64 + 1.0))
                };
                values.split(',').enumerate().map(each).collect()
            }
        };
        if values.iter().any(|(value, _)| value.is_empty()) {
            return Err(form());
        }
        Ok(Self { key: key.to_owned(), values })
    }
}

fn seconds(text: &str) -> Option<f64> {
    duration::parse(text).ok().map(|duration| duration.as_secs_f64())
}

/// A number and what follows it.
fn measured(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Steps of equal ratio from one end to the other.
fn range(text: &str, from: &str, to: &str) -> Result<Vec<(String, f64)>, VaryError> {
    let wrong = || VaryError::Range(text.to_owned());
    let steps = |from: f64, to: f64| -> Option<Vec<f64>> {
        let ratio = (to / from).powf(1.0 / (STEPS as f64 - 1.0));
        (from > 0.0 && to > from && ratio.is_finite())
            .then(|| (0..STEPS).map(|step| from * ratio.powi(step as i32)).collect())
    };
    let mut values: Vec<(String, f64)> = if let (Some(from), Some(to)) = (seconds(from), seconds(to)) {
        let told = |seconds: f64| (format!("{:.0}ms", seconds * 1e3), seconds);
        steps(from, to).ok_or_else(wrong)?.into_iter().map(told).collect()
    } else {
        let (low, high) = measured(from).zip(measured(to)).ok_or_else(wrong)?;
        if low.1 != high.1 {
            return Err(wrong());
        }
        let sign = if from.starts_with('+') { "+" } else { "" };
        let whole = ![from, to].iter().any(|end| end.contains('.'));
        let told = |value: f64| {
            let value = if whole { value.round() } else { (value * 1e3).round() / 1e3 };
            (format!("{sign}{value}{}", low.1), value)
        };
        steps(low.0, high.0).ok_or_else(wrong)?.into_iter().map(told).collect()
    };
    values.dedup_by(|one, other| one.0 == other.0);
    Ok(values)
}

/// A scenario's text with another value at `key`. Text stays text; where the way leads into a list, it goes on in the
/// list's only element, or in the one that the key numbers from 1.
///
/// # Errors
/// The file has no value there, or is no TOML.
pub fn with_value(text: &str, key: &str, value: &str) -> Result<String, VaryError> {
    let table = DeTable::parse(text).map_err(|error| VaryError::Syntax(error.message().to_owned()))?;
    let missing = |problem: String| VaryError::NoSuchKey { key: key.to_owned(), problem };
    let mut parts = key.split('.').peekable();
    let first = parts.next().unwrap_or_default();
    let top = table.get_ref();
    let known = |table: &DeTable<'_>| table.keys().map(|key| key.get_ref().to_string()).collect::<Vec<_>>().join(", ");
    let mut at = top.get(first).ok_or_else(|| missing(format!("`{first}` is none of {}", known(top))))?;
    loop {
        match at.get_ref() {
            DeValue::Array(list) => {
                let numbered = parts.peek().and_then(|part| part.parse::<usize>().ok());
                let place = match numbered {
                    Some(number) => {
                        parts.next();
                        number.wrapping_sub(1)
                    }
                    None if list.len() == 1 => 0,
                    None if parts.peek().is_none() => break,
                    None => return Err(missing(format!("there are {}; number them from 1", list.len()))),
                };
                at = list.get(place).ok_or_else(|| missing(format!("there are {}", list.len())))?;
            }
            DeValue::Table(table) => {
                let Some(part) = parts.next() else { return Err(missing(format!("it has {}", known(table)))) };
                at = table.get(part).ok_or_else(|| missing(format!("`{part}` is none of {}", known(table))))?;
            }
            _ => break,
        }
    }
    if let Some(part) = parts.next() {
        return Err(missing(format!("nothing has a `{part}` there")));
    }
    let span = at.span();
    let value = if at.get_ref().is_str() { format!("{value:?}") } else { value.to_owned() };
    Ok(format!("{}{value}{}", &text[..span.start], &text[span.end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# why\n[lock.redlock]\nnodes = 5\nttl = \"1s\" # long\n\n[[fault.pause]]\nfor = \"3s\"\n";

    #[test]
    fn one_value_changes_and_everything_else_stays() {
        let varied = with_value(FILE, "lock.redlock.ttl", "500ms").unwrap();
        assert_eq!(varied, FILE.replace("\"1s\"", "\"500ms\""));
        assert_eq!(with_value(FILE, "lock.redlock.nodes", "7").unwrap(), FILE.replace('5', "7"));
        assert_eq!(with_value(FILE, "fault.pause.for", "9s").unwrap(), FILE.replace("3s", "9s"));
        assert_eq!(with_value(FILE, "fault.pause.1.for", "9s").unwrap(), FILE.replace("3s", "9s"));
    }

    #[test]
    fn a_key_that_is_not_there_is_told_with_those_that_are() {
        for (key, told) in [
            ("lock.redlock.tll", "`tll` is none of nodes, ttl"),
            ("lok", "`lok` is none of"),
            ("lock.redlock", "it has nodes, ttl"),
            ("fault.pause.2.for", "there are 1"),
            ("lock.redlock.ttl.x", "nothing has a `x` there"),
        ] {
            let error = with_value(FILE, key, "1").unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        assert!(matches!(with_value("a = ", "a", "1"), Err(VaryError::Syntax(_))));
    }

    #[test]
    fn a_range_has_steps_of_equal_ratio() {
        let values = |text: &str| {
            let knob = Knob::parse(text).unwrap();
            knob.values.into_iter().map(|(value, _)| value).collect::<Vec<_>>()
        };
        assert_eq!(
            values("lock.redlock.ttl=0.5s..5s"),
            ["500ms", "734ms", "1077ms", "1581ms", "2321ms", "3406ms", "5000ms"]
        );
        assert_eq!(values("by=+1%..+64%"), ["+1%", "+2%", "+4%", "+8%", "+16%", "+32%", "+64%"]);
        assert_eq!(values("workload.clients=2..4"), ["2", "3", "4"]);
        assert_eq!(values("lock.redlock.nodes=3,5, 7"), ["3", "5", "7"]);
        assert_eq!(Knob::parse("a=1s,2s").unwrap().values[1].1, 2.0);
        for (wrong, told) in [
            ("ttl", "is no knob"),
            ("=1", "is no knob"),
            ("a=", "is no knob"),
            ("a=5s..1s", "no range"),
            ("a=1s..5%", "no range"),
            ("a=0..5", "no range"),
        ] {
            let error = Knob::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}

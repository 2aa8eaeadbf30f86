//! What is said between fencepost and a program that wraps a lock: one JSON object a line.
//!
//! `adapters/README.md` tells the same to people; [`schema`] tells it to machines. Deliberately absent: processes,
//! time limits, and what follows from a message.

use std::time::Duration;

use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol, as `FENCEPOST_PROTOCOL` tells it to the program.
pub const VERSION: u32 = 1;

/// A request to the program. There is one at a time: the next is sent when this one is answered.
///
/// On the wire the keys stand in the order `id`, `op`, `lock`, `wait_ms`, without white space, and a lock's name has
/// letters, digits and `-` only, so that a shell script can take it apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Numbers the requests from 1; the answer repeats it.
    pub id: u64,
    /// What to do.
    pub op: Verb,
    /// The lock's name.
    pub lock: String,
    /// For `acquire`: how long to try, in milliseconds. Zero: one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Acquire the lock: `ok`, `fail` or `unknown`.
    Acquire,
    /// Give it back: `released`, `expired` or `unknown`.
    Release,
    /// Renew its lease (capability `extend`): `ok`, `fail` or `unknown`.
    Extend,
    /// Ask whether the hold is valid (capability `is_valid`): `ok` if so, else `expired`; or `unknown`.
    IsValid,
}

impl Verb {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Extend => "extend",
            Self::IsValid => "is_valid",
        }
    }

    /// The results that may answer it.
    pub fn results(self) -> &'static [Outcome] {
        match self {
            Self::Acquire | Self::Extend => &[Outcome::Ok, Outcome::Fail, Outcome::Unknown],
            Self::Release => &[Outcome::Released, Outcome::Expired, Outcome::Unknown],
            Self::IsValid => &[Outcome::Ok, Outcome::Expired, Outcome::Unknown],
        }
    }
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done: the lock is held, or held on, or valid.
    Ok,
    /// It was certainly not done: nothing is held because of it.
    Fail,
    /// It may have been done, or may yet be.
    Unknown,
    /// It was ours until now, and is free.
    Released,
    /// It was no longer ours.
    Expired,
}

impl Outcome {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// What a lock's API offers beside acquire and release. What it does not offer is not asked for, and its check is `n/a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Renews a lease when asked: answers `extend`.
    Extend,
    /// Tells whether a hold is valid when asked: answers `is_valid`.
    IsValid,
    /// Gives a fencing token with each grant: `token` in the answer.
    Token,
    /// Tells how long a grant is valid: `valid_for_ms` in the answer.
    ValidFor,
    /// Tells by itself when a hold is lost: `{"lost":"NAME"}`.
    Lost,
}

impl Capability {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Extend => "extend",
            Self::IsValid => "is_valid",
            Self::Token => "token",
            Self::ValidFor => "valid_for",
            Self::Lost => "lost",
        }
    }
}

/// The first message of a program: who it is and what its lock offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The lock's name, such as the library's.
    pub name: String,
    /// The library's version.
    pub version: String,
    /// What the lock offers; may be empty.
    pub capabilities: Vec<Capability>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The request's number.
    pub id: u64,
    /// How it went.
    pub result: Outcome,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The grant's fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// How long the hold is valid from now on, in milliseconds, as the lock's API says; not above zero if it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for_ms: Option<f64>,
    /// When that was so: the reading of `CLOCK_MONOTONIC`, in nanoseconds. Without it, when the answer arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_ns: Option<u64>,
}

/// What a program says of itself, without being asked, when a hold is over that it has not given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// The lock's name.
    pub lost: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A line of a program.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Who it is.
    Hello(Hello),
    /// An answer.
    Answer(Answer),
    /// A hold is over.
    Lost(Loss),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greeting {
    hello: Hello,
}

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAMessage {
    /// No JSON object at all: something printed to standard output.
    Noise,
    /// An object, but not one of the protocol.
    Malformed(String),
}

impl Message {
    /// Reads a line of a program.
    ///
    /// # Errors
    /// It is no message.
    pub fn parse(line: &str) -> Result<Self, NotAMessage> {
        // What is no object at all was hardly meant as a message. A list or a number is no more of one.
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(line) else {
            let meant = line.trim_start().starts_with('{');
            return Err(if meant { NotAMessage::Malformed("not JSON".to_owned()) } else { NotAMessage::Noise });
        };
        let read = if object.contains_key("hello") {
            serde_json::from_str::<Greeting>(line).map(|greeting| Self::Hello(greeting.hello))
        } else if object.contains_key("lost") {
            serde_json::from_str(line).map(Self::Lost)
        } else {
            serde_json::from_str(line).map(Self::Answer)
        };
        read.map_err(|error| {
            // Its place is in the line, of which there is only one.
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default().to_owned();
            NotAMessage::Malformed(text)
        })
    }
}

impl Answer {
    /// How long the hold is valid, if the answer tells.
    ///
    /// # Errors
    /// It is no time.
    pub fn valid_for(&self) -> Result<Option<Duration>, String> {
        let Some(ms) = self.valid_for_ms else { return Ok(None) };
        // What is below zero was over by then.
        Duration::try_from_secs_f64(ms.max(0.0) / 1e3)
            .map(Some)
            .map_err(|_| format!("valid_for_ms is {ms}, which is no time"))
    }
}

/// The JSON Schema (2020-12) of the lines of both sides.
pub fn schema() -> Value {
    #[derive(JsonSchema)]
    #[schemars(title = "fencepost adapter protocol, a line on standard output")]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its schema is used")]
    enum Line {
        Hello { hello: Hello },
        Lost(Loss),
        Answer(Answer),
    }
    serde_json::json!({
        "version": VERSION,
        "stdin": schema_for!(Request),
        "stdout": schema_for!(Line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let hello = r#"{"hello":{"name":"kazoo","version":"2.11.0","capabilities":["lost","is_valid"]}}"#;
        let Ok(Message::Hello(hello)) = Message::parse(hello) else { panic!("no hello") };
        assert_eq!(hello.capabilities, [Capability::Lost, Capability::IsValid]);
        let Ok(Message::Answer(answer)) = Message::parse(r#"{"id":3,"result":"ok","valid_for_ms":12.5}"#) else {
            panic!("no answer")
        };
        assert_eq!(answer.valid_for(), Ok(Some(Duration::from_micros(12_500))));
        assert!(matches!(Message::parse(r#"{"lost":"a"}"#), Ok(Message::Lost(_))));
        for noise in ["connecting...", "", "[1]", "42", "Traceback (most recent call last):"] {
            assert_eq!(Message::parse(noise), Err(NotAMessage::Noise), "{noise}");
        }
    }

    #[test]
    fn a_misspelt_message_is_refused_with_its_word() {
        let cases = [
            (r#"{"id":1,"result":"ok","valid_for":5}"#, "valid_for"),
            (r#"{"id":1,"result":"yes"}"#, "yes"),
            (r#"{"id":"1","result":"ok"}"#, "u64"),
            (r#"{"hello":{"name":"x","capabilities":[]}}"#, "version"),
            (r#"{"hello":{"name":"x","version":"1","capabilities":["renew"]}}"#, "renew"),
            (r#"{"result":"ok""#, "not JSON"),
        ];
        for (line, word) in cases {
            let Err(NotAMessage::Malformed(why)) = Message::parse(line) else { panic!("{line}") };
            assert!(why.contains(word), "{line}: {why}");
        }
        let answer = Answer { valid_for_ms: Some(f64::MAX), ..of(Outcome::Ok) };
        assert!(answer.valid_for().is_err());
        assert_eq!(Answer { valid_for_ms: Some(-3.0), ..of(Outcome::Ok) }.valid_for(), Ok(Some(Duration::ZERO)));
    }

    fn of(result: Outcome) -> Answer {
        Answer { id: 1, result, error: None, token: None, valid_for_ms: None, now_ns: None }
    }

    #[test]
    fn words_are_those_on_the_wire() {
        let word = |value: Value| value.as_str().map(str::to_owned);
        for verb in [Verb::Acquire, Verb::Release, Verb::Extend, Verb::IsValid] {
            assert_eq!(word(serde_json::to_value(verb).unwrap()).as_deref(), Some(verb.name()));
            for result in verb.results() {
                assert_eq!(word(serde_json::to_value(result).unwrap()).as_deref(), Some(result.name()));
            }
        }
        use Capability::*;
        for capability in [Extend, IsValid, Token, ValidFor, Lost] {
            assert_eq!(word(serde_json::to_value(capability).unwrap()).as_deref(), Some(capability.name()));
        }
    }

    #[test]
    fn a_shell_script_can_take_a_request_apart() {
        let request = Request { id: 7, op: Verb::Acquire, lock: "fp-ab12-item-1".to_owned(), wait_ms: Some(500) };
        let line = serde_json::to_string(&request).unwrap();
        assert_eq!(line, r#"{"id":7,"op":"acquire","lock":"fp-ab12-item-1","wait_ms":500}"#);
    }

    #[test]
    fn the_schema_beside_the_adapters_is_this_one() {
        let beside: Value = serde_json::from_str(include_str!("../../adapters/protocol.schema.json")).unwrap();
        assert_eq!(beside, schema(), "write it anew: fencepost adapter schema > adapters/protocol.schema.json");
    }
}

//! What the gateway says, and what it means: bytes are base64, numbers are texts, and what is zero is left out.
//!
//! Deliberately absent: whom to ask, and when.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::lock::backend::{EtcdKey, EtcdLine};
use crate::lock::error::EtcdError;

/// The longest reply that is read: a line of a hundred thousand contenders is shorter.
pub(super) const LONGEST_REPLY: usize = 16 << 20;

/// Reads a reply to its end; an error if it is one.
pub(super) async fn read(body: Incoming) -> Result<Value, EtcdError> {
    let body = http_body_util::Limited::new(body, LONGEST_REPLY).collect().await;
    let body = body.map_err(|error| EtcdError::Unanswered(error.to_string()))?.to_bytes();
    // Of a stream the first message.
    let first = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let value = serde_json::from_slice(first)
        .map_err(|_| EtcdError::Unanswered(format!("not of etcd: {}", String::from_utf8_lossy(first))))?;
    message(value)
}

/// The message in a reply: that of a stream is in `result`. An error is an object in `error` if it is of a stream, and
/// stands by itself, as a `code` and a `message`, if it is of a single call; older gateways add its text as `error`.
pub(super) fn message(mut value: Value) -> Result<Value, EtcdError> {
    let error = match value.get("error") {
        Some(Value::Object(error)) => Value::Object(error.clone()),
        None if value.get("code").is_none() => {
            return Ok(value.get_mut("result").map(Value::take).unwrap_or(value));
        }
        _ => value,
    };
    let code = ["grpc_code", "code"].into_iter().find_map(|key| error.get(key)?.as_i64());
    let text = ["message", "error"].into_iter().find_map(|key| error.get(key)?.as_str());
    Err(EtcdError::from_error_reply(code.unwrap_or_default(), text.unwrap_or_default()))
}

/// A message as its type.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, EtcdError> {
    serde_json::from_value(value).map_err(|error| EtcdError::Unanswered(format!("not of etcd: {error}")))
}

/// A number, which the gateway writes as a text and leaves out where it is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Number(pub i64);

impl TryFrom<String> for Number {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    pub revision: Number,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "UPPERCASE")]
pub(super) struct LeaseMessage {
    pub ttl: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeMessage {
    pub header: Header,
    kvs: Vec<KeyMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyMessage {
    key: String,
    create_revision: Number,
    lease: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnMessage {
    pub header: Header,
    pub responses: Vec<OpMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OpMessage {
    pub response_range: Option<RangeMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct DeleteMessage {
    pub deleted: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchMessage {
    pub canceled: bool,
    pub cancel_reason: String,
    pub events: Vec<EventMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct EventMessage {
    #[serde(rename = "type")]
    pub kind: String,
}

impl RangeMessage {
    pub fn line(self, revision: Number) -> Result<EtcdLine, EtcdError> {
        let key = |message: KeyMessage| {
            let key = BASE64_STANDARD.decode(&message.key).ok().and_then(|key| String::from_utf8(key).ok());
            let key = key.ok_or_else(|| EtcdError::Unanswered(format!("a key that is no text: {}", message.key)))?;
            Ok(EtcdKey { key, created: message.create_revision.0.max(0).unsigned_abs(), lease: message.lease.0 })
        };
        let keys = self.kvs.into_iter().map(key).collect::<Result<_, EtcdError>>()?;
        Ok(EtcdLine { keys, revision: revision.0.max(0).unsigned_abs() })
    }
}

/// How long a lease lasts, from an answer that says so: not above zero if it is over.
pub(super) fn left(answer: Result<Value, EtcdError>) -> Result<Option<Duration>, EtcdError> {
    let LeaseMessage { ttl: Number(seconds) } = typed(answer?)?;
    Ok(u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs))
}

pub(super) fn encoded(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The first key behind all that begin with `prefix`; `\0`, which stands for no end, if there is none.
pub(super) fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(behind(b"/a/"), b"/a0");
        assert_eq!(behind(&[b'a', 0xff]), b"b");
        assert_eq!(behind(&[0xff, 0xff]), [0]);
    }

    #[test]
    fn the_gateway_s_errors_are_told_in_every_shape() {
        let of = |text: &str| message(serde_json::from_str(text).unwrap());
        let single = r#"{"error":"etcdserver: requested lease not found","code":5,"message":"etcdserver: requested lease not found"}"#;
        assert_eq!(of(single), Err(EtcdError::NoLease));
        // What 3.5.16 says to whoever grants a lease that is there, or asks for what no lease can be.
        let there = r#"{"code":9,"message":"etcdserver: lease already exists","details":[]}"#;
        assert_eq!(of(there), Err(EtcdError::Unanswered("etcdserver: lease already exists".to_owned())));
        let long = r#"{"code":11,"message":"etcdserver: too large lease TTL","details":[]}"#;
        assert_eq!(of(long), Err(EtcdError::Denied("etcdserver: too large lease TTL".to_owned())));
        let gone = r#"{"code":5,"message":"etcdserver: requested lease not found","details":[]}"#;
        assert_eq!(of(gone), Err(EtcdError::NoLease));
        let stream = r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}"#;
        assert_eq!(of(stream), Err(EtcdError::Unanswered("etcdserver: no leader".to_owned())));
        let told = of(r#"{"result":{"ID":"7","TTL":"2"}}"#).unwrap();
        assert_eq!(typed::<LeaseMessage>(told).unwrap().ttl, Number(2));
        assert_eq!(typed::<LeaseMessage>(of("{\"ID\":\"7\"}").unwrap()).unwrap().ttl, Number(0), "zero is left out");
    }
}

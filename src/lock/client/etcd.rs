//! The etcd seam over the JSON gateway that every member has on its client port.
//!
//! Not over `etcd-client`, the gRPC crate: its build needs `protoc`, which a machine with only Rust does not have. The
//! gateway is a member's own translation of the same calls: bytes are base64, numbers are texts, and what is zero is
//! left out (etcd's documentation, "gRPC gateway"). One member is asked at a time; one that cannot be reached, or whose
//! answer nobody waited for, is not asked next. Deliberately absent: TLS and passwords.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::lock::backend::{EtcdCluster, EtcdKey, EtcdLine, Reply};
use crate::lock::error::EtcdError;
use crate::lock::runtime::tokio_around;

/// The longest reply that is read: a line of a hundred thousand contenders is shorter.
const LONGEST_REPLY: usize = 16 << 20;

/// Where etcd is: `etcd://host[:port],host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdAddress(Vec<String>);

/// Why a text names no etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the address of etcd, {problem}: write `etcd://host:port,host:port`")]
pub struct EtcdAddressError {
    text: String,
    problem: &'static str,
}

impl EtcdAddress {
    /// The members, each as `host:port`.
    pub fn members(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for EtcdAddress {
    type Err = EtcdAddressError;

    fn from_str(text: &str) -> Result<Self, EtcdAddressError> {
        let wrong = |problem| EtcdAddressError { text: text.to_owned(), problem };
        let rest = text.strip_prefix("etcd://").ok_or_else(|| wrong("it does not begin with `etcd://`"))?;
        if rest.contains(['@', '/', '?']) {
            return Err(wrong("only hosts and ports are part of it"));
        }
        let mut members = Vec::new();
        for member in rest.split(',') {
            // An IPv6 address has colons of its own, and stands in brackets.
            let (host, port) = match member.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port),
                _ => (member, "2379"),
            };
            if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
                return Err(wrong("a member has no host"));
            }
            if port.parse::<u16>().map_or(true, |port| port == 0) {
                return Err(wrong("a port is a number from 1 to 65535"));
            }
            members.push(format!("{host}:{port}"));
        }
        Ok(Self(members))
    }
}

impl fmt::Display for EtcdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd://{}", self.0.join(","))
    }
}

/// The members of one etcd cluster.
pub struct EtcdMembers {
    asker: Arc<Asker>,
}

struct Asker {
    name: String,
    members: Vec<String>,
    /// Which one is asked.
    at: AtomicUsize,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl EtcdMembers {
    /// The members at this address. Nothing is sent yet.
    pub fn new(address: EtcdAddress) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(Around).build(connector);
        let name = address.to_string();
        Self { asker: Arc::new(Asker { name, members: address.0, at: AtomicUsize::new(0), client }) }
    }

    /// How long a lease lasts that nobody keeps alive; `None` if it is over. For whoever looks at a lock, and takes no
    /// part.
    ///
    /// # Errors
    /// As for every request.
    #[cfg(feature = "harness")]
    pub(crate) fn time_left(&self, lease: i64) -> Reply<Option<Duration>, EtcdError> {
        self.ask("lease/timetolive", json!({ "ID": lease.to_string() }), left)
    }

    /// Makes one request of the gateway. In the background, so that it needs no runtime around its caller; it ends with
    /// whoever waits for it.
    fn ask<T: Send + 'static>(
        &self,
        path: &'static str,
        body: Value,
        meaning: impl FnOnce(Result<Value, EtcdError>) -> Result<T, EtcdError> + Send + 'static,
    ) -> Reply<T, EtcdError> {
        let asker = Arc::clone(&self.asker);
        async move {
            let mut asked = Asked { at: asker.at.load(Ordering::Relaxed), asker, is_answered: false };
            let answer = {
                let (asker, at) = (Arc::clone(&asked.asker), asked.at);
                background(async move { read(asker.send(at, path, &body).await?).await }).await
            };
            // Whoever refuses is there; whoever cannot be reached, or breaks off, is not asked next.
            asked.is_answered = !matches!(answer, Err(EtcdError::Unreachable(_) | EtcdError::Unanswered(_)));
            meaning(answer)
        }
        .boxed()
    }

    fn range(prefix: &str) -> Value {
        json!({
            "key": encoded(prefix.as_bytes()),
            "range_end": encoded(&behind(prefix.as_bytes())),
            "sort_order": "ASCEND",
            "sort_target": "CREATE",
            "keys_only": true,
        })
    }
}

/// A request to a member. Dropped without an answer, it moves on to the next one.
struct Asked {
    asker: Arc<Asker>,
    at: usize,
    is_answered: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_answered {
            // Another request may have moved on before.
            let next = (self.at + 1) % self.asker.members.len().max(1);
            let _ = self.asker.at.compare_exchange(self.at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Asker {
    async fn send(&self, at: usize, path: &str, body: &Value) -> Result<Incoming, EtcdError> {
        let member = self.members.get(at).ok_or_else(|| EtcdError::Unreachable("there is no member".to_owned()))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{member}/v3/{path}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| EtcdError::Denied(error.to_string()))?;
        match self.client.request(request).await {
            Ok(response) => Ok(response.into_body()),
            Err(error) if error.is_connect() => Err(EtcdError::Unreachable(format!("{member}: {}", root(&error)))),
            Err(error) => Err(EtcdError::Unanswered(format!("{member}: {}", root(&error)))),
        }
    }
}

/// What is at the bottom of an error: the layers above say less.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Reads a reply to its end; an error if it is one.
async fn read(body: Incoming) -> Result<Value, EtcdError> {
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
fn message(mut value: Value) -> Result<Value, EtcdError> {
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
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, EtcdError> {
    serde_json::from_value(value).map_err(|error| EtcdError::Unanswered(format!("not of etcd: {error}")))
}

/// A number, which the gateway writes as a text and leaves out where it is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Number(i64);

impl TryFrom<String> for Number {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Header {
    revision: Number,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "UPPERCASE")]
struct LeaseMessage {
    ttl: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RangeMessage {
    header: Header,
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
struct TxnMessage {
    header: Header,
    responses: Vec<OpMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OpMessage {
    response_range: Option<RangeMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DeleteMessage {
    deleted: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WatchMessage {
    canceled: bool,
    cancel_reason: String,
    events: Vec<EventMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EventMessage {
    #[serde(rename = "type")]
    kind: String,
}

impl RangeMessage {
    fn line(self, revision: Number) -> Result<EtcdLine, EtcdError> {
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
fn left(answer: Result<Value, EtcdError>) -> Result<Option<Duration>, EtcdError> {
    let LeaseMessage { ttl: Number(seconds) } = typed(answer?)?;
    Ok(u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs))
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The first key behind all that begin with `prefix`; `\0`, which stands for no end, if there is none.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
}

impl EtcdCluster for EtcdMembers {
    fn name(&self) -> &str {
        &self.asker.name
    }

    fn grant(&self, lease: i64, ttl: Duration) -> Reply<Duration, EtcdError> {
        let body = json!({ "ID": lease.to_string(), "TTL": ttl.as_secs().to_string() });
        self.ask("lease/grant", body, move |answer| match answer {
            Ok(granted) => {
                let LeaseMessage { ttl: Number(seconds) } = typed(granted)?;
                Ok(Duration::from_secs(seconds.max(0).unsigned_abs()))
            }
            // By a request of ours that nobody answered: nobody else has this id.
            Err(EtcdError::Unanswered(why)) if why.contains("lease already exists") => Ok(ttl),
            Err(error) => Err(error),
        })
    }

    fn keep_alive(&self, lease: i64) -> Reply<Option<Duration>, EtcdError> {
        self.ask("lease/keepalive", json!({ "ID": lease.to_string() }), left)
    }

    fn revoke(&self, lease: i64) -> Reply<bool, EtcdError> {
        self.ask("lease/revoke", json!({ "ID": lease.to_string() }), |answer| match answer {
            Ok(_) => Ok(true),
            Err(EtcdError::NoLease) => Ok(false),
            Err(error) => Err(error),
        })
    }

    fn enter(&self, key: &str, lease: i64, prefix: &str) -> Reply<EtcdLine, EtcdError> {
        let (key, range) = (encoded(key.as_bytes()), json!({ "request_range": Self::range(prefix) }));
        let body = json!({
            "compare": [{ "key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0" }],
            "success": [{ "request_put": { "key": key, "lease": lease.to_string() } }, range],
            "failure": [range],
        });
        self.ask("kv/txn", body, |answer| {
            let TxnMessage { header, responses } = typed(answer?)?;
            let range = responses.into_iter().find_map(|response| response.response_range);
            range.unwrap_or_default().line(header.revision)
        })
    }

    fn line(&self, prefix: &str) -> Reply<EtcdLine, EtcdError> {
        self.ask("kv/range", Self::range(prefix), |answer| {
            let range: RangeMessage = typed(answer?)?;
            let revision = range.header.revision;
            range.line(revision)
        })
    }

    fn deleted(&self, key: &str, from: u64) -> Reply<(), EtcdError> {
        let body = json!({ "create_request": {
            "key": encoded(key.as_bytes()), "start_revision": from.to_string(), "filters": ["NOPUT"],
        } });
        let asker = Arc::clone(&self.asker);
        async move {
            background(async move {
                let at = asker.at.load(Ordering::Relaxed);
                // Until it breaks off nobody can tell how long it will take.
                let mut broken = Asked { at, asker: Arc::clone(&asker), is_answered: true };
                let watched = watch(&asker, at, &body).await;
                broken.is_answered = watched.is_ok();
                watched
            })
            .await
        }
        .boxed()
    }

    fn delete(&self, key: &str) -> Reply<bool, EtcdError> {
        self.ask("kv/deleterange", json!({ "key": encoded(key.as_bytes()) }), |answer| {
            let DeleteMessage { deleted: Number(deleted) } = typed(answer?)?;
            Ok(deleted > 0)
        })
    }
}

/// Reads what a watch tells, line by line, until it tells of a deletion.
async fn watch(asker: &Asker, at: usize, body: &Value) -> Result<(), EtcdError> {
    let mut told = asker.send(at, "watch", body).await?;
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = told.frame().await {
        let frame = frame.map_err(|error| EtcdError::Unanswered(root(&error)))?;
        rest.extend(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let value = serde_json::from_slice(&line).map_err(|error| EtcdError::Unanswered(error.to_string()))?;
            let WatchMessage { canceled, cancel_reason, events } = typed(message(value)?)?;
            if events.iter().any(|event| event.kind == "DELETE") {
                return Ok(());
            }
            if canceled {
                return Err(EtcdError::Unanswered(format!("the watch was cancelled: {cancel_reason}")));
            }
        }
        if rest.len() > LONGEST_REPLY {
            break;
        }
    }
    Err(EtcdError::Unanswered("the watch broke off".to_owned()))
}

/// Runs what needs a tokio runtime around it, for as long as anybody waits for it.
async fn background<T: Send + 'static>(
    task: impl Future<Output = Result<T, EtcdError>> + Send + 'static,
) -> Result<T, EtcdError> {
    let around =
        tokio_around().ok_or_else(|| EtcdError::Unreachable("the system has no thread to spare".to_owned()))?;
    let ended = |error| Err(EtcdError::Unanswered(format!("the request ended: {error}")));
    Awaited(around.spawn(task)).await.unwrap_or_else(ended)
}

/// A task that ends with whoever waits for it.
struct Awaited<T>(JoinHandle<T>);

impl<T> Future for Awaited<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context)
    }
}

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs connections in the runtime that is around, or in the library's own.
#[derive(Clone)]
struct Around;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Around {
    fn execute(&self, task: F) {
        if let Some(around) = tokio_around() {
            around.spawn(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_members_with_their_ports() {
        let members = |text: &str| text.parse::<EtcdAddress>().map(|address| address.0);
        assert_eq!(members("etcd://a,b:12379").unwrap(), ["a:2379", "b:12379"]);
        assert_eq!(members("etcd://[::1]").unwrap(), ["[::1]:2379"]);
        for text in ["a:2379", "etcd://", "etcd://a,,b", "etcd://a:port", "etcd://a:0", "etcd://a/x", "etcd://u:p@a"] {
            let error = text.parse::<EtcdAddress>().unwrap_err();
            assert!(error.to_string().contains("write `etcd://host:port"), "{error}");
        }
    }

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

//! The etcd seam over the JSON gateway that every member has on its client port.
//!
//! Not over `etcd-client`, the gRPC crate: its build needs `protoc`, which a machine with only Rust does not have. The
//! gateway is a member's own translation of the same calls (etcd's documentation, "gRPC gateway"), and [`message`] has
//! what it says. One member is asked at a time; one that cannot be reached, or whose answer nobody waited for, is not
//! asked next. Deliberately absent: TLS and passwords.

mod address;
mod message;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub use self::address::{EtcdAddress, EtcdAddressError};
use self::message::{
    DeleteMessage, LONGEST_REPLY, LeaseMessage, Number, RangeMessage, TxnMessage, WatchMessage, behind, encoded, left,
    message, read, typed,
};
use crate::lock::backend::{EtcdCluster, EtcdLine, Reply};
use crate::lock::error::EtcdError;
use crate::lock::runtime::tokio_around;

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

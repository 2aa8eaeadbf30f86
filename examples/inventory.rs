//! An inventory behind HTTP, in as many processes as you like: a distributed lock before it, a store that fences behind
//! it.
//!
//! ```sh
//! docker compose -p fencepost up -d
//! cargo run --example inventory -- examples/zookeeper.toml      # or examples/redlock.toml, examples/redis.toml
//! curl -i localhost:5218/inventory
//! curl -i localhost:5218/inventory/1
//! curl -i localhost:5218/inventory -H 'content-type: application/json' \
//!      -d '{"id": 9, "name": "Gate", "description": "Of oak", "stockCount": 4}'
//! ```
//!
//! | request | answers |
//! |---|---|
//! | `GET /inventory` | 200 with all items |
//! | `GET /inventory/{id}` | 200, or 404 |
//! | `POST /inventory` | 201, 409 if the id is taken, 503 if the lock was not to be had in time, was lost, or its servers are out of reach |
//!
//! This is the second program of Hamed Salameh's "Implementing Distributed Locks in .NET Core with Redis or ZooKeeper"
//! (<https://hamedsalameh.com/implementing-distributed-locks-in-net-core-with-redis-or-zookeeper/>) done right. The
//! data are in one place and not in each process; nothing runs without a guard; no answer is sent from data that others
//! may change meanwhile; the store takes the token with each access, so that a process that was stopped between its
//! last look and its write is refused by the store, and not merely by luck. `GET` takes no lock: the store hands out
//! one value, whole, and who does not write has nothing to protect.
//!
//! Further arguments: `--listen 127.0.0.1:5218`, `--store redis://127.0.0.1:17001/1`.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use fencepost::ids::{FencingToken, LockName};
use fencepost::lock::client::{Fenced, FencedRedis, RedisEndpoint};
use fencepost::lock::error::NodeError;
use fencepost::lock::{AcquireOptions, DistributedLock, Settings, WithLockError, with_lock};
use serde::{Deserialize, Serialize};

/// How long a request may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(3);
type Items = BTreeMap<u32, Item>;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Item {
    id: u32,
    name: String,
    description: String,
    stock_count: i64,
}

struct Service {
    lock: Box<dyn DistributedLock>,
    store: FencedRedis,
    /// Where the items are, in the store: one value, since they change together. Tokens of different locks do not
    /// compare, so each settings file has items of its own.
    key: String,
}

/// Why a request was not served.
enum Refusal {
    NoSuchItem(u32),
    Taken(u32),
    /// The lock is another's, was lost, or its servers are out of reach: nothing was changed, trying again may help.
    Busy(String),
    /// The store gave no answer: something may have been changed.
    Unknown(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inventory: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    const USAGE: &str = "usage: inventory SETTINGS.toml [--listen ADDRESS] [--store redis://…]";
    let mut arguments = std::env::args().skip(1);
    let settings = arguments.next().ok_or(USAGE)?;
    let (mut listen, mut store) = ("127.0.0.1:5218".to_owned(), "redis://127.0.0.1:17001/1".to_owned());
    while let (Some(option), Some(value)) = (arguments.next(), arguments.next()) {
        match option.as_str() {
            "--listen" => listen = value,
            "--store" => store = value,
            _ => return Err(USAGE.into()),
        }
    }
    let lock = Settings::load(&settings)?.connect().await?;
    let store = FencedRedis::new(store.parse::<RedisEndpoint>()?);
    let service = Arc::new(Service { lock, store, key: format!("inventory:{settings}") });
    service.open().await?;
    let listener = tokio::net::TcpListener::bind(listen.parse::<SocketAddr>()?).await?;
    println!("inventory: http://{}/inventory, locked by {settings}", listener.local_addr()?);
    let routes = Router::new().route("/inventory", get(all).post(add)).route("/inventory/{id}", get(one));
    axum::serve(listener, routes.with_state(service)).await?;
    Ok(())
}

async fn all(State(service): State<Arc<Service>>) -> Result<Json<Vec<Item>>, Refusal> {
    Ok(Json(service.items().await?.into_values().collect()))
}

async fn one(State(service): State<Arc<Service>>, Path(id): Path<u32>) -> Result<Json<Item>, Refusal> {
    service.items().await?.remove(&id).map(Json).ok_or(Refusal::NoSuchItem(id))
}

async fn add(State(service): State<Arc<Service>>, Json(item): Json<Item>) -> Result<Response, Refusal> {
    let place = format!("/inventory/{}", item.id);
    service.add(item.clone()).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(item)).into_response())
}

impl Service {
    /// Puts the article's five items into an empty store. A lock that gives no token is told so here, and not at the
    /// first request.
    async fn open(&self) -> Result<(), Box<dyn Error>> {
        let items = ["Post", "Rail", "Nail", "Hinge", "Latch"].into_iter().zip(1_u32..).map(|(name, id)| {
            (
                id,
                Item {
                    id,
                    name: name.to_owned(),
                    description: "For fences".to_owned(),
                    stock_count: i64::from(id) * 10,
                },
            )
        });
        let first: Items = items.collect();
        let opened = self.under_the_lock(async |token| match self.store.read(&self.key, token).await {
            Ok(Fenced::Served(None)) => self.put(token, &first).await,
            Ok(Fenced::Served(Some(_))) => Ok(()),
            Ok(Fenced::Stale { highest }) => Err(stale(token, highest)),
            Err(error) => Err(unanswered(error)),
        });
        opened.await.map_err(|refusal| refusal.text().into())
    }

    /// The items as they are.
    async fn items(&self) -> Result<Items, Refusal> {
        let text = self.store.peek(&self.key).await.map_err(unanswered)?;
        text.map_or(Ok(Items::new()), |text| parsed(&text))
    }

    /// Adds an item: read and write under one guard.
    async fn add(&self, item: Item) -> Result<(), Refusal> {
        self.under_the_lock(async |token| {
            let mut items = match self.store.read(&self.key, token).await.map_err(unanswered)? {
                Fenced::Served(text) => text.map_or(Ok(Items::new()), |text| parsed(&text))?,
                Fenced::Stale { highest } => return Err(stale(token, highest)),
            };
            if items.contains_key(&item.id) {
                return Err(Refusal::Taken(item.id));
            }
            items.insert(item.id, item);
            self.put(token, &items).await
        })
        .await
    }

    async fn put(&self, token: FencingToken, items: &Items) -> Result<(), Refusal> {
        let text = serde_json::to_string(items).map_err(|error| Refusal::Unknown(error.to_string()))?;
        match self.store.write(&self.key, token, &text).await.map_err(unanswered)? {
            Fenced::Served(()) => Ok(()),
            Fenced::Stale { highest } => Err(stale(token, highest)),
        }
    }

    /// Runs `body` with the token of a guard. No guard, no body; and a body is stopped when the guard is lost.
    async fn under_the_lock(&self, body: impl AsyncFnOnce(FencingToken) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let (name, options) = (LockName::new("inventory"), AcquireOptions::within(PATIENCE));
        let outcome = with_lock(&*self.lock, &name, &options, async |guard| match guard.token() {
            Some(token) => body(token).await,
            None => Err(Refusal::Busy("this lock gives no token to fence with: set `tokens = \"quorum\"`".to_owned())),
        });
        match outcome.await {
            Ok(completed) => completed.value,
            Err(error @ WithLockError::NotAcquired(_)) => Err(Refusal::Busy(error.to_string())),
            // Stopped at its last await: if that was the write, it may have been made.
            Err(error) => Err(Refusal::Unknown(error.to_string())),
        }
    }
}

fn parsed(text: &str) -> Result<Items, Refusal> {
    serde_json::from_str(text).map_err(|error| Refusal::Unknown(format!("the store holds no inventory: {error}")))
}

fn stale(token: FencingToken, highest: FencingToken) -> Refusal {
    Refusal::Busy(format!("the store refuses token {token}: {highest} has been here since"))
}

fn unanswered(error: NodeError) -> Refusal {
    if error.is_definite() { Refusal::Busy(error.to_string()) } else { Refusal::Unknown(error.to_string()) }
}

impl Refusal {
    fn text(&self) -> String {
        match self {
            Self::NoSuchItem(id) => format!("there is no item {id}"),
            Self::Taken(id) => format!("there is an item {id} already"),
            Self::Busy(why) => format!("nothing was changed, try again: {why}"),
            Self::Unknown(why) => format!("it may have been changed: {why}"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoSuchItem(_) => StatusCode::NOT_FOUND,
            Self::Taken(_) => StatusCode::CONFLICT,
            Self::Busy(_) | Self::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = Json(serde_json::json!({ "error": self.text() }));
        match status {
            StatusCode::SERVICE_UNAVAILABLE => (status, [(header::RETRY_AFTER, "1")], body).into_response(),
            _ => (status, body).into_response(),
        }
    }
}

//! The protected resource over HTTP: the service, and the way that clients use it.
//!
//! `GET /inventory` lists the items, for people. `GET /inventory/{id}`, `PUT /inventory/{id}` and `POST /inventory` are
//! accesses: they carry the headers `hold` and `client`, `fencing-token` where the lock gives one and `shared` if it is
//! a reader's, are served one after another, and are recorded in that order. A stale access is answered 412, as a
//! failed precondition.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::{BoxFuture, FutureExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

use crate::history::ItemValue;
use crate::history::recorder::Record;
use crate::ids::{ClientId, FencingToken, HoldId};
use crate::time::{BootClock, Clock};
use crate::workload::resource::{Item, Refusal, Resource};
use crate::workload::{Access, AccessError, Action, PATIENCE, ResourceClient};

const HOLD: &str = "hold";
const CLIENT: &str = "client";
const TOKEN: &str = "fencing-token";
/// Present where the hold is a reader's.
const SHARED: &str = "shared";

/// An item as the service shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ItemView {
    id: u32,
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    stock_count: i64,
    #[serde(default)]
    version: u32,
}

/// The body of a `PUT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Change {
    stock_count: i64,
    based_on: u32,
}

/// The service's state: the inventory, and where its accesses are recorded.
#[derive(Clone)]
struct Service {
    resource: Arc<Mutex<Resource>>,
    record: Arc<dyn Record>,
}

/// The HTTP service over `resource`; every access is recorded in the order in which it was served.
pub fn service(resource: Resource, record: Arc<dyn Record>) -> Router {
    Router::new()
        .route("/inventory", get(list).post(add))
        .route("/inventory/{id}", get(read).put(write))
        .with_state(Service { resource: Arc::new(Mutex::new(resource)), record })
}

impl Service {
    fn serve(&self, access: &Access) -> Result<ItemView, Problem> {
        let mut resource = self.resource.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the record stands in the order of service.
        let (served, op) = resource.serve_and_tell(access, BootClock.now());
        self.record.record(op);
        match served {
            Ok(_) => resource
                .items()
                .find(|(id, _)| *id == access.item)
                .map(view)
                .ok_or_else(|| problem(StatusCode::NOT_FOUND, &Refusal::NoSuchItem(access.item).to_string())),
            Err(refusal @ Refusal::NoSuchItem(_)) => Err(problem(StatusCode::NOT_FOUND, &refusal.to_string())),
            Err(refusal) => Err(problem(StatusCode::PRECONDITION_FAILED, &refusal.to_string())),
        }
    }
}

fn view((id, item): (u32, &Item)) -> ItemView {
    ItemView {
        id,
        name: item.name.clone(),
        description: item.description.clone(),
        stock_count: item.stock,
        version: item.version,
    }
}

/// An answer that says why there is no item in it.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

fn problem(status: StatusCode, reason: &str) -> Problem {
    Problem(status, reason.to_owned())
}

/// Reads who accesses from the headers.
fn access(headers: &HeaderMap, item: u32, action: Action) -> Result<Access, Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let bad = |reason: &str| problem(StatusCode::BAD_REQUEST, reason);
    let hold = text(HOLD).ok_or_else(|| bad("an access needs the header `hold`: the hold that it is made under"))?;
    let client = text(CLIENT)
        .and_then(|client| client.parse().ok())
        .ok_or_else(|| bad("an access needs the header `client`: the client's number"))?;
    let token = text(TOKEN)
        .map(|token| token.parse().map_err(|_| bad("the header `fencing-token` is a whole number")))
        .transpose()?;
    let (hold, client, token) = (HoldId::new(hold), ClientId(client), token.map(FencingToken));
    Ok(Access { item, hold, client, token, shared: text(SHARED).is_some(), action })
}

async fn list(State(service): State<Service>) -> Json<Vec<ItemView>> {
    let resource = service.resource.lock().unwrap_or_else(PoisonError::into_inner);
    Json(resource.items().map(view).collect())
}

async fn read(
    State(service): State<Service>,
    Path(id): Path<u32>,
    headers: HeaderMap,
) -> Result<Json<ItemView>, Problem> {
    service.serve(&access(&headers, id, Action::Read)?).map(Json)
}

async fn write(
    State(service): State<Service>,
    Path(id): Path<u32>,
    headers: HeaderMap,
    Json(change): Json<Change>,
) -> Result<Json<ItemView>, Problem> {
    let action = Action::Write { stock: change.stock_count, based_on: change.based_on };
    service.serve(&access(&headers, id, action)?).map(Json)
}

/// Adds an item, as an access under the token of its hold: the new item's first version is that access.
async fn add(
    State(service): State<Service>,
    headers: HeaderMap,
    Json(item): Json<ItemView>,
) -> Result<(StatusCode, Json<ItemView>), Problem> {
    let action = Action::Write { stock: item.stock_count, based_on: 0 };
    let access = access(&headers, item.id, action)?;
    {
        let mut resource = service.resource.lock().unwrap_or_else(PoisonError::into_inner);
        let added = resource.add(item.id, Item::new(item.name, item.description, item.stock_count));
        if added.is_err() {
            return Err(problem(StatusCode::CONFLICT, &format!("there is an item {} already", access.item)));
        }
    }
    service.serve(&access).map(|item| (StatusCode::CREATED, Json(item)))
}

/// A client's way to the resource.
pub struct HttpResource {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl HttpResource {
    /// The resource at `address`.
    pub fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(PATIENCE));
        Self { address, client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    async fn ask(&self, access: Access) -> Result<ItemValue, AccessError> {
        let uri = format!("http://{}/inventory/{}", self.address, access.item);
        let (method, body, based_on) = match access.action {
            Action::Read => (Method::GET, Vec::new(), None),
            Action::Write { stock, based_on } => {
                let body = serde_json::to_vec(&Change { stock_count: stock, based_on });
                (Method::PUT, body.map_err(|error| AccessError::Unreachable(error.to_string()))?, Some(based_on))
            }
        };
        let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        request = request.header(HOLD, access.hold.text().as_str()).header(CLIENT, access.client.0);
        if let Some(token) = access.token {
            request = request.header(TOKEN, token.0);
        }
        if access.shared {
            request = request.header(SHARED, "yes");
        }
        let request = request.body(Full::from(body)).map_err(|error| AccessError::Unreachable(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                AccessError::Unreachable(error.to_string())
            } else {
                AccessError::Unanswered(error.to_string())
            }
        })?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| AccessError::Unanswered(error.to_string()))?;
        let body = body.to_bytes();
        if !status.is_success() {
            let reason = serde_json::from_slice::<serde_json::Value>(&body)
                .ok()
                .and_then(|problem| Some(problem.get("error")?.as_str()?.to_owned()));
            return Err(AccessError::Refused(reason.unwrap_or_else(|| status.to_string())));
        }
        let item: ItemView =
            serde_json::from_slice(&body).map_err(|error| AccessError::Unanswered(error.to_string()))?;
        Ok(ItemValue { item: item.id, stock: item.stock_count, version: Some(item.version), based_on })
    }
}

impl ResourceClient for HttpResource {
    fn access(&self, access: Access) -> BoxFuture<'_, Result<ItemValue, AccessError>> {
        async move {
            tokio::time::timeout(PATIENCE, self.ask(access))
                .await
                .unwrap_or_else(|_| Err(AccessError::Unanswered(format!("nothing within {PATIENCE:?}"))))
        }
        .boxed()
    }
}

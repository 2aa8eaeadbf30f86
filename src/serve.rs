//! A folder of reports in a browser of this machine: read-only, on 127.0.0.1, nothing outside of the folder.
//!
//! Pages are `report`'s. Deliberately absent: whatever could change a run, and any way in from another machine or from
//! another site's page.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::report::compare::{INDEX, MARKDOWN};
use crate::report::library::{self, Filter};
use crate::report::{GROWING, growing};
use crate::report::{HISTORY, PAGE, RUN, VERDICT};

/// After how many seconds a page of a run that goes on is asked for again.
const EVERY: &str = "2";

/// The files that are shown, by their names, and what they are.
const FILES: [(&str, &str); 6] = [
    (PAGE, "text/html; charset=utf-8"),
    (INDEX, "text/html; charset=utf-8"),
    (VERDICT, "application/json"),
    (RUN, "application/json"),
    (HISTORY, "text/plain; charset=utf-8"),
    (MARKDOWN, "text/plain; charset=utf-8"),
];

/// Serves the folder `root` until the process ends; `ready` is told the address first. Port 0 takes any free one.
///
/// # Errors
/// The folder is none, or the port cannot be had.
pub async fn serve(root: &Path, port: u16, ready: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let root = root.canonicalize()?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    ready(listener.local_addr()?);
    let service = Router::new().fallback(answer).with_state(Arc::new(root));
    axum::serve(listener, service).await
}

async fn answer(State(root): State<Arc<PathBuf>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, "read-only\n").into_response();
    }
    // Another site's page may have its name point here; its Host gives it away.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !matches!(name, "127.0.0.1" | "localhost") {
        return (StatusCode::FORBIDDEN, "only for this machine: ask for 127.0.0.1\n").into_response();
    }
    let query = |name: &str| {
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(key, _)| *key == name)
            .find_map(|(_, value)| decoded(&value.replace('+', " ")))
            .unwrap_or_default()
    };
    match uri.path() {
        "/" => {
            let [scenario, lock, verdict, time] = ["scenario", "lock", "verdict", "time"].map(query);
            let filter = Filter { scenario, lock, verdict, time };
            page(library::list(&library::runs(&root), &growing::unjudged(&root), &filter))
        }
        path if path.starts_with(GROWING) => {
            let place = path.strip_prefix(GROWING).and_then(decoded).and_then(|place| confined(&root, &place));
            match place.as_deref().and_then(|place| growing::page(&root, place)) {
                // The browser asks again: a page without script grows as well.
                Some(growing) if growing.goes_on => ([("refresh", EVERY)], page(growing.page)).into_response(),
                Some(growing) => page(growing.page),
                None => (StatusCode::NOT_FOUND, "no such run\n").into_response(),
            }
        }
        "/compare" => {
            let entry = |place: String| library::entry(&root, &confined(&root, &place)?);
            match (entry(query("a")), entry(query("b"))) {
                (Some(one), Some(other)) => page(library::side_by_side(&one, &other)),
                _ => (StatusCode::NOT_FOUND, "choose two runs of the list, a and b\n").into_response(),
            }
        }
        path => path
            .strip_prefix("/files/")
            .and_then(|path| file(&root, path))
            .unwrap_or_else(|| (StatusCode::NOT_FOUND, "no such page\n").into_response()),
    }
}

fn page(text: String) -> Response {
    ([(CONTENT_TYPE, FILES[0].1), (X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response()
}

fn file(root: &Path, path: &str) -> Option<Response> {
    let path = confined(root, &decoded(path)?)?;
    let (_, kind) = FILES.iter().find(|(name, _)| path.file_name().is_some_and(|file| file == *name))?;
    let bytes = std::fs::read(path).ok()?;
    Some(([(CONTENT_TYPE, *kind), (X_CONTENT_TYPE_OPTIONS, "nosniff")], bytes).into_response())
}

/// The place below `root` that a text names; none for one that leads out of it, be it over a link.
fn confined(root: &Path, place: &str) -> Option<PathBuf> {
    let place = Path::new(place);
    let inside =
        place.components().all(|part| matches!(part, Component::Normal(_))) && place.components().next().is_some();
    let path = inside.then(|| root.join(place))?.canonicalize().ok()?;
    path.starts_with(root).then_some(path)
}

/// A text without its percent signs; none if they hide no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join(VERDICT), "secret").unwrap();
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("calm/one")).unwrap();
        std::fs::write(root.join("calm/one").join(VERDICT), "{}").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("calm/out")).unwrap();
        assert!(file(&root, "calm/one/verdict.json").is_some());
        let name = outside.path().file_name().unwrap().to_str().unwrap();
        for path in [
            format!("../{name}/verdict.json"),
            format!("%2e%2e/{name}/verdict.json"),
            format!("calm/../../{name}/verdict.json"),
            format!("{}/verdict.json", outside.path().display()),
            "calm/out/verdict.json".to_owned(),
            "calm/one".to_owned(),
            "calm/one/%zz".to_owned(),
            String::new(),
        ] {
            assert!(file(&root, &path).is_none(), "{path}");
        }
        std::fs::write(root.join("calm/one/.secret"), "x").unwrap();
        assert!(file(&root, "calm/one/.secret").is_none(), "only what is shown");
    }

    #[test]
    fn what_is_encoded_is_read() {
        assert_eq!(decoded("a%20b%C3%BC"), Some("a bü".to_owned()));
        assert_eq!([decoded("%"), decoded("%f"), decoded("%ff")], [None, None, None]);
    }

    #[tokio::test]
    async fn only_this_machine_may_ask_and_only_to_read() {
        let root = Arc::new(tempfile::tempdir().unwrap().keep());
        let ask = |method: Method, host: &'static str| {
            let headers = HeaderMap::from_iter([(HOST, axum::http::HeaderValue::from_static(host))]);
            let root = State(root.clone());
            async move { answer(root, method, Uri::from_static("/"), headers).await.status() }
        };
        assert_eq!(ask(Method::GET, "127.0.0.1:8000").await, StatusCode::OK);
        assert_eq!(ask(Method::GET, "localhost").await, StatusCode::OK);
        assert_eq!(ask(Method::GET, "evil.example:8000").await, StatusCode::FORBIDDEN);
        assert_eq!(ask(Method::POST, "127.0.0.1:8000").await, StatusCode::METHOD_NOT_ALLOWED);
        std::fs::remove_dir_all(&*root).unwrap();
    }
}

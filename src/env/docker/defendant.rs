//! A stranger's program in a container of its own, outside of any trial: to hear who it is.
//!
//! Deliberately absent: trials, where it runs beside a client.

use std::sync::Arc;

use anyhow::{anyhow, bail};

use super::backends;
use super::container::{Role, labels};
use super::engine::Engine;
use super::images;
use super::launch::FOLDER;
use crate::adapter::misdeed::Kept;
use crate::adapter::{AdapterLock, Settings, Spec};
use crate::lock::runtime::TokioRuntime;

/// The settings with what the program says that its lock offers. Its image is built if it is missing.
///
/// # Errors
/// Docker cannot be used, or the program did not introduce itself.
pub async fn introduced(settings: Settings) -> anyhow::Result<Settings> {
    let engine = Engine::connect().await?;
    images::ensure(&engine, backends::always(), &|_| {}).await?;
    let image = images::ensure_for(&engine, &settings, &|_| {}).await?;
    let inner = Spec {
        command: settings.command.clone(),
        folder: None,
        backend: settings.servers.backend.name().to_owned(),
        servers: vec!["127.0.0.1:1".to_owned(); settings.servers.count as usize],
        lease: settings.lease(std::time::Duration::from_secs(1)),
        client: 1,
    };
    let mut command: Vec<String> =
        ["docker", "run", "--rm", "--interactive", "--network", "none", "--user", "65534:65534"]
            .map(str::to_owned)
            .into();
    for (name, value) in labels(Role::Helper, None, None) {
        command.extend(["--label".to_owned(), format!("{name}={value}")]);
    }
    command.extend(["--volume".to_owned(), format!("{}:{FOLDER}:ro", settings.folder.display())]);
    command.extend(["--workdir".to_owned(), FOLDER.to_owned(), "--entrypoint".to_owned(), String::new()]);
    for (name, value) in inner.environment() {
        command.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    command.push(image);
    command.extend(settings.command.iter().cloned());
    let spec = Spec { command, ..inner };
    let runtime = Arc::new(TokioRuntime::from_entropy());
    let kept = Arc::new(Kept::default());
    let lock = AdapterLock::open(spec, String::new(), None, runtime, kept).await;
    let shown = settings.command.join(" ");
    let lock = match lock {
        Ok(lock) => lock,
        Err(why) => {
            // The long command of Docker's is nothing that its author wrote.
            let why = why.split("` ").nth(1).unwrap_or(&why).to_owned();
            return Err(anyhow!("`{shown}` {why}"));
        }
    };
    let hello = lock.hello().clone();
    lock.close().await;
    if hello.name.is_empty() {
        bail!("`{shown}` introduced itself without a name");
    }
    Ok(Settings { capabilities: hello.capabilities, ..settings })
}

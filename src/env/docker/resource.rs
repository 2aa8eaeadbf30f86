//! `fencepost resource`: the protected resource of a trial, inside its container.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::control_client::ControlClient;
use super::http::service;
use super::messages::{Order, RESOURCE_PORT, Report, Speaker};
use crate::history::recorder::Record;
use crate::workload::resource::Resource;

/// Serves until the harness says that the trial is over.
///
/// # Errors
/// The harness is gone, or the port is taken.
pub async fn main(socket: &Path) -> anyhow::Result<()> {
    let mut control = ControlClient::connect(socket, Speaker::Resource).await?;
    let plan = match control.order().await? {
        Order::Resource(plan) => plan,
        other => bail!("the resource was ordered {other:?}"),
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, RESOURCE_PORT))
        .await
        .with_context(|| format!("cannot listen on port {RESOURCE_PORT}"))?;
    let record = Arc::clone(&control.reports) as Arc<dyn Record>;
    let service = service(Resource::new(plan.kind, plan.fencing, plan.items), record);
    let server = tokio::spawn(async move { axum::serve(listener, service).await });
    control.reports.send(Report::Ready);
    while !matches!(control.order().await?, Order::Leave) {}
    server.abort();
    control.close(Report::Done).await;
    Ok(())
}

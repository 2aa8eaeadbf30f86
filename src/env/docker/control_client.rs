//! The container's end of the control socket: shared by the client and the resource.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::messages::{Order, Report, Speaker};
use crate::history::recorder::Record;
use crate::history::{Op, ServerRecord};

/// Sends reports, in order.
#[derive(Clone)]
pub struct Reports(mpsc::UnboundedSender<Report>);

impl Reports {
    /// Sends one report. If the harness is gone there is nobody to tell, and reading orders ends the process.
    pub fn send(&self, report: Report) {
        let _ = self.0.send(report);
    }
}

impl Record for Reports {
    fn record(&self, op: Op) {
        self.send(Report::Op(Box::new(op)));
    }

    fn observe(&self, record: ServerRecord) {
        self.send(Report::Servers(Box::new(record)));
    }
}

/// A connection to the harness.
pub struct ControlClient {
    /// Where reports go.
    pub reports: Arc<Reports>,
    orders: Lines<BufReader<OwnedReadHalf>>,
    writer: JoinHandle<()>,
}

impl ControlClient {
    /// Connects and says hello.
    ///
    /// # Errors
    /// The socket cannot be reached.
    pub async fn connect(path: &Path, speaker: Speaker) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path)
            .await
            .with_context(|| format!("cannot reach the harness at {}", path.display()))?;
        let (read, mut write) = stream.into_split();
        let (sender, mut receiver) = mpsc::unbounded_channel::<Report>();
        let writer = tokio::spawn(async move {
            while let Some(report) = receiver.recv().await {
                // Reports are made of strings and numbers only: they always serialise.
                let Ok(mut line) = serde_json::to_vec(&report) else { continue };
                line.push(b'\n');
                if write.write_all(&line).await.is_err() {
                    break;
                }
            }
        });
        let reports = Arc::new(Reports(sender));
        reports.send(Report::Hello(speaker));
        Ok(Self { reports, orders: BufReader::new(read).lines(), writer })
    }

    /// The next order.
    ///
    /// # Errors
    /// The harness is gone, or speaks another language.
    pub async fn order(&mut self) -> anyhow::Result<Order> {
        match self.orders.next_line().await? {
            Some(line) => serde_json::from_str(&line).with_context(|| format!("not an order: {line}")),
            None => bail!("the harness is gone"),
        }
    }

    /// Says the last word and waits until everything is sent.
    pub async fn close(self, last: Report) {
        self.reports.send(last);
        drop((self.reports, self.orders));
        // Other holders of the sender may live on for a moment; the harness reads until the last word anyway.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.writer).await;
    }
}

//! The harness's end of the control socket: where all containers of one trial report.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::messages::{Order, Report, Speaker};

/// What the trial hears: who, and what; `None` when its connection ended.
pub type Heard = (Speaker, Option<Report>);

/// Sends orders to the containers that have said hello.
#[derive(Clone, Default)]
pub struct Orders(Arc<Mutex<BTreeMap<Speaker, mpsc::UnboundedSender<Order>>>>);

impl Orders {
    /// Sends an order. One to a container that is gone is dropped: its end is reported elsewhere.
    pub fn send(&self, to: Speaker, order: Order) {
        if let Some(orders) = self.lock().get(&to) {
            let _ = orders.send(order);
        }
    }

    /// Sends an order to all.
    pub fn send_all(&self, order: &Order) {
        for orders in self.lock().values() {
            let _ = orders.send(order.clone());
        }
    }

    /// Sends an order to all clients.
    pub fn send_all_clients(&self, order: &Order) {
        for (_, orders) in self.lock().iter().filter(|(speaker, _)| matches!(speaker, Speaker::Client(_))) {
            let _ = orders.send(order.clone());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Speaker, mpsc::UnboundedSender<Order>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens until it is dropped.
pub struct ControlServer {
    /// Where orders go.
    pub orders: Orders,
    /// What is heard.
    pub heard: mpsc::UnboundedReceiver<Heard>,
    accepting: JoinHandle<()>,
}

impl ControlServer {
    /// Listens at `path`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        // Containers run as somebody else; the folder that holds the socket keeps strangers out.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        let (sender, heard) = mpsc::unbounded_channel();
        let orders = Orders::default();
        let known = orders.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, known.clone(), sender.clone()));
            }
        });
        Ok(Self { orders, heard, accepting })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves one connection. What does not begin with a hello is not one of ours.
async fn serve(stream: UnixStream, known: Orders, heard: mpsc::UnboundedSender<Heard>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let report = |line: &str| serde_json::from_str::<Report>(line);
    let Ok(Some(first)) = lines.next_line().await else { return };
    let Ok(Report::Hello(speaker)) = report(&first) else { return };
    let (sender, mut orders) = mpsc::unbounded_channel::<Order>();
    known.lock().insert(speaker, sender);
    let _ = heard.send((speaker, Some(Report::Hello(speaker))));
    let writer = tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            let Ok(mut line) = serde_json::to_vec(&order) else { continue };
            line.push(b'\n');
            if write.write_all(&line).await.is_err() {
                break;
            }
        }
    });
    while let Ok(Some(line)) = lines.next_line().await {
        let said = report(&line).unwrap_or_else(|error| Report::Failed(format!("not a report ({error}): {line}")));
        if heard.send((speaker, Some(said))).is_err() {
            break;
        }
    }
    writer.abort();
    known.lock().remove(&speaker);
    let _ = heard.send((speaker, None));
}

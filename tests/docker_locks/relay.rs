//! A way to a server that a test can make slow, cut and count, without touching the server.
//!
//! It stands before one server for one client. A thread with a runtime of its own carries the bytes, so that neither
//! the test's nor the client's runtime has a part in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It arrives.
    Open,
    /// Requests arrive, answers wait.
    AnswersWait,
    /// Connections end at once, new ones as well.
    Cut,
}

/// Counts round trips: how often somebody spoke to the server after it had answered.
#[derive(Default)]
struct Turns {
    answered: AtomicBool,
    count: AtomicU32,
}

impl Turns {
    fn asked(&self) {
        if self.answered.swap(false, Ordering::SeqCst) {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The way to one server.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    dials: Arc<AtomicU32>,
    turns: Arc<Turns>,
    runtime: Option<Runtime>,
}

impl Relay {
    /// The way to `server`, on which each connection takes `delay` before its first byte passes, and each chunk of
    /// bytes `each_way` in each direction.
    pub fn new(server: SocketAddr, delay: Duration, each_way: Duration) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on_here(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, dials) = (watch::Sender::new(Mode::Open), Arc::new(AtomicU32::new(0)));
        let (modes, counted, turns) = (mode.subscribe(), Arc::clone(&dials), Arc::new(Turns::default()));
        let of_all = Arc::clone(&turns);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, server, [delay, each_way], modes.clone(), Arc::clone(&of_all)));
            }
        });
        Self { address, mode, dials, turns, runtime: Some(runtime) }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many round trips there were. Begins a new one.
    pub fn turns(&self) -> u32 {
        self.turns.answered.store(true, Ordering::SeqCst);
        self.turns.count.load(Ordering::SeqCst)
    }

    /// How many connections were opened to it.
    pub fn dials(&self) -> u32 {
        self.dials.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// `Runtime::block_on`, also on a thread that drives another runtime.
trait BlockOnHere {
    fn block_on_here<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T;
}

impl BlockOnHere for Runtime {
    fn block_on_here<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (done, result) = std::sync::mpsc::channel();
        self.spawn(async move { drop(done.send(future.await)) });
        result.recv().unwrap()
    }
}

async fn carry(
    client: TcpStream,
    server: SocketAddr,
    [delay, each_way]: [Duration; 2],
    mut modes: watch::Receiver<Mode>,
    turns: Arc<Turns>,
) {
    if *modes.borrow() == Mode::Cut {
        return;
    }
    tokio::time::sleep(delay).await;
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let gate = modes.clone();
    tokio::select! {
        () = pass(from_client, to_server, each_way, None, &turns) => {}
        () = pass(from_server, to_client, each_way, Some(gate), &turns) => {}
        _ = modes.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// Carries chunks on, each `delay` after it came; later ones don't wait for earlier ones longer than that.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut gate: Option<watch::Receiver<Mode>>,
    turns: &Turns,
) {
    let is_answer = gate.is_some();
    let (sender, mut chunks) = tokio::sync::mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    let read = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if !is_answer {
                turns.asked();
            }
            let _ = sender.send((tokio::time::Instant::now() + delay, buffer[..length].to_vec()));
        }
    };
    let write = async {
        while let Some((due, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(due).await;
            if let Some(gate) = &mut gate {
                let _ = gate.wait_for(|mode| *mode == Mode::Open).await;
            }
            if is_answer {
                turns.answered.store(true, Ordering::SeqCst);
            }
            if to.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}

//! A real Redis in a container of its own, with a clock that the test moves.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use fencepost::env::docker::backends;
use fencepost::env::docker::clock_page::{self, ClockPage, Setting};
use fencepost::env::docker::cluster_name::cluster;
use fencepost::env::docker::container::{LABEL_CLUSTER, LABEL_ROLE, Role};
use fencepost::env::docker::engine::Engine;
use fencepost::env::docker::proxy::Proxy;
use fencepost::env::docker::run_lock::RunLock;
use fencepost::env::docker::{files, images};
use fencepost::env::sim::redis::{Command, Reply};
use fencepost::ids::LockName;
use fencepost::scenario::Backend;
use fencepost::wire::{Names, Protocol};
use rustix::time::{ClockId, clock_gettime};

use crate::AN_HOUR;
use crate::sequence::Step;

static NUMBER: AtomicU32 = AtomicU32::new(1);
/// Tests take turns: there is one run lock.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
const START_LIMIT: Duration = Duration::from_secs(30);

pub fn wall_ns() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

pub fn mono_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A connection to the server, and its clock.
pub struct Real {
    engine: Engine,
    handle: tokio::runtime::Handle,
    container: String,
    page: ClockPage,
    way: Way,
    connection: BufReader<TcpStream>,
}

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Straight.
    Straight,
    /// Through the proxy that reads requests, and strikes none.
    Proxied,
}

/// Starts a server with further arguments, runs `body` on a thread where it may block, and removes the server, whatever
/// became of the body.
pub async fn with_server(arguments: &[&str], body: impl FnOnce(&mut Real) + Send + 'static) {
    with_server_by(Way::Straight, arguments, body).await;
}

/// The same, reached in this way.
pub async fn with_server_by(way: Way, arguments: &[&str], body: impl FnOnce(&mut Real) + Send + 'static) {
    let _turn = TURN.lock().await;
    let engine = Engine::connect().await.unwrap();
    // A run of the harness would remove the container: it clears away what an earlier run left.
    let state = files::state_folder().unwrap();
    let mut told = false;
    let _run = loop {
        match RunLock::take(&state, "the Redis conformance test").await {
            Ok(lock) => break lock,
            Err(busy) if !told => println!("waiting: {busy}"),
            Err(_) => {}
        }
        told = true;
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let image = match std::env::var("FENCEPOST_TEST_REDIS_IMAGE") {
        Ok(image) => image,
        Err(_) => {
            images::ensure(&engine, [Backend::Redis], &|line| println!("{line}")).await.unwrap();
            backends::of(Backend::Redis).containers().image.to_owned()
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let page = ClockPage::open(folder.path()).unwrap();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let container = format!("fencepost-conformance-{}-{number}", std::process::id());
    let labels = HashMap::from([
        (LABEL_CLUSTER.to_owned(), cluster().to_owned()),
        (LABEL_ROLE.to_owned(), Role::Helper.to_string()),
    ]);
    let port = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(String::new()) };
    let config = ContainerCreateBody {
        image: Some(image),
        labels: Some(labels),
        env: Some(vec![format!("LD_PRELOAD={}", clock_page::SHIM)]),
        // DEBUG turns the background sweep off.
        cmd: Some(["--enable-debug-command", "yes"].iter().chain(arguments).map(ToString::to_string).collect()),
        host_config: Some(HostConfig {
            binds: Some(vec![format!("{}:{}:ro", folder.path().display(), clock_page::FOLDER)]),
            port_bindings: Some(HashMap::from([("6379/tcp".to_owned(), Some(vec![port]))])),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(&container).build();
    engine.docker().create_container(Some(options), config).await.unwrap();
    let (of_body, named) = (engine.clone(), container.clone());
    let handle = tokio::runtime::Handle::current();
    let outcome = tokio::task::spawn_blocking(move || {
        handle.block_on(of_body.docker().start_container(&named, None)).unwrap();
        let connection = connect(&of_body, &handle, &named, way);
        body(&mut Real { engine: of_body, handle, container: named, page, way, connection });
    })
    .await;
    let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    engine.docker().remove_container(&container, Some(force)).await.unwrap();
    if let Err(panicked) = outcome {
        resume_unwind(panicked.into_panic());
    }
}

/// Connects as soon as the server answers.
fn connect(engine: &Engine, handle: &tokio::runtime::Handle, container: &str, way: Way) -> BufReader<TcpStream> {
    let start = Instant::now();
    loop {
        let details = handle.block_on(engine.docker().inspect_container(container, None)).unwrap();
        let ports = details.network_settings.and_then(|settings| settings.ports).unwrap_or_default();
        let port = ports.get("6379/tcp").and_then(|ends| ends.as_ref()?.first()?.host_port.as_ref()?.parse().ok());
        let door = |port: u16| match way {
            Way::Straight => port,
            Way::Proxied => {
                // Names of locks that are keys of the sequences: each request is looked at in full.
                let names = ["a", "b", "n"].map(|key| (LockName::new(key), key.as_bytes().to_vec()));
                let server = [SocketAddr::from(([127, 0, 0, 1], port))];
                let proxy = Proxy::open(Protocol::Resp, &server, Names::new(names), None);
                handle.block_on(proxy).unwrap().doors[0].port()
            }
        };
        if let Some(connection) = port.map(door).and_then(try_connect) {
            return connection;
        }
        assert!(start.elapsed() < START_LIMIT, "{container} does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn try_connect(port: u16) -> Option<BufReader<TcpStream>> {
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut connection = BufReader::new(stream);
    // A published port takes connections before the server behind it does.
    connection.get_mut().write_all(b"PING\r\n").ok()?;
    let mut line = String::new();
    connection.read_line(&mut line).ok()?;
    (line == "+PONG\r\n").then_some(connection)
}

impl Real {
    /// Carries out a step; what the server answered, if it was a command.
    pub fn step(&mut self, step: &Step) -> Option<Reply> {
        match step {
            Step::Clock(wall_ms) => self.clock(*wall_ms),
            Step::Say(command) => return Some(self.say(command)),
        }
        None
    }

    /// Stops the server's clock at `wall_ms`, milliseconds since the epoch.
    pub fn clock(&mut self, wall_ms: i64) {
        self.page(&Setting::stopped_at(wall_ms, AN_HOUR));
    }

    pub fn page(&mut self, setting: &Setting) {
        self.page.set(setting).unwrap();
    }

    pub fn say(&mut self, command: &Command) -> Reply {
        self.raw(&command.words().iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn raw(&mut self, words: &[&str]) -> Reply {
        self.send(words);
        self.reply()
    }

    /// Where the server is, from here.
    pub fn address(&self) -> SocketAddr {
        self.connection.get_ref().peer_addr().unwrap()
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle.block_on(future)
    }

    /// Another connection to the same server.
    pub fn another(&self) -> Other {
        Other(connect(&self.engine, &self.handle, &self.container, self.way))
    }

    /// Sends a command; the answer is [`Self::reply`]'s.
    pub fn send(&mut self, words: &[&str]) {
        send(&mut self.connection, words);
    }

    pub fn reply(&mut self) -> Reply {
        reply(&mut self.connection)
    }

    /// What `TIME` says, ns since the epoch.
    pub fn time_ns(&mut self) -> i64 {
        let Reply::Array(parts) = self.raw(&["TIME"]) else { panic!("TIME says two numbers") };
        let number = |part: &Reply| match part {
            Reply::Bulk(text) => text.parse::<i64>().unwrap(),
            other => panic!("no number: {other}"),
        };
        number(&parts[0]) * 1_000_000_000 + number(&parts[1]) * 1000
    }

    /// Turns the background sweep off until the server's next start: it comes when it likes, between any two commands.
    pub fn no_sweeps(&mut self) {
        assert_eq!(self.raw(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]), Reply::Ok);
    }

    fn info(&mut self, section: &str) -> String {
        let Reply::Bulk(info) = self.raw(&["INFO", section]) else { panic!("INFO is a text") };
        info
    }

    pub fn version(&mut self) -> String {
        self.info("server").lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap().to_owned()
    }

    /// Kills the server once it has handed to the kernel what it was told: with `everysec` it puts that off for up to
    /// two seconds while a sync is slow, and what it had not written dies with it.
    pub fn kill_and_start(&mut self) {
        let written = Instant::now();
        while self
            .info("persistence")
            .lines()
            .any(|line| line.strip_prefix("aof_buffer_length:").is_some_and(|length| length.trim() != "0"))
        {
            assert!(written.elapsed() < START_LIMIT, "{} does not write its append-only file", self.container);
            std::thread::sleep(Duration::from_millis(10));
        }
        let Self { engine, handle, container, way, .. } = self;
        handle.block_on(engine.docker().kill_container(container, None)).unwrap();
        let start = Instant::now();
        while handle.block_on(engine.docker().inspect_container(container, None)).unwrap().state.unwrap().running
            == Some(true)
        {
            assert!(start.elapsed() < START_LIMIT, "{container} survives being killed");
            std::thread::sleep(Duration::from_millis(10));
        }
        handle.block_on(engine.docker().start_container(container, None)).unwrap();
        self.connection = connect(engine, handle, container, *way);
    }
}

/// A connection without the right to the server's clock.
pub struct Other(BufReader<TcpStream>);

impl Other {
    /// The next thing that the server says, asked or not.
    pub fn reply(&mut self) -> Reply {
        reply(&mut self.0)
    }

    pub fn raw(&mut self, words: &[&str]) -> Reply {
        send(&mut self.0, words);
        reply(&mut self.0)
    }
}

fn send(connection: &mut BufReader<TcpStream>, words: &[&str]) {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    connection.get_mut().write_all(request.as_bytes()).unwrap();
}

fn reply(connection: &mut BufReader<TcpStream>) -> Reply {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    let (kind, rest) = line.trim_end().split_at(1);
    match (kind, rest) {
        ("+", "OK") => Reply::Ok,
        // Within a script the server adds which script it was, and where in it.
        ("-", text) => Reply::Error(text.split(" script: ").next().unwrap().to_owned()),
        (":", number) => Reply::Integer(number.parse().unwrap()),
        ("$" | "*", "-1") => Reply::Nil,
        ("$", length) => {
            let mut text = vec![0; length.parse::<usize>().unwrap() + 2];
            connection.read_exact(&mut text).unwrap();
            text.truncate(text.len() - 2);
            Reply::Bulk(String::from_utf8(text).unwrap())
        }
        ("*", length) => Reply::Array((0..length.parse::<usize>().unwrap()).map(|_| reply(connection)).collect()),
        // A status that is none of a lock's, such as that a save has begun.
        ("+", text) => Reply::Bulk(text.to_owned()),
        _ => panic!("not RESP: {line:?}"),
    }
}

//! Where one Redis server is and how to log in there: an address as people write it, and a stream to it.
//!
//! With the feature `tls`, `rediss://` goes there encrypted. Deliberately absent: when to connect, and how long to try;
//! that is the connection's business.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

#[cfg(feature = "tls")]
use super::tls::Tls;

/// One Redis server, as `redis://[user[:password]@]host[:port][/database]` says it, `rediss://…` for TLS, or
/// `unix:///path/to/socket[?db=1&user=…&pass=…]`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisEndpoint {
    place: Place,
    login: Login,
    /// Where the server is reached, if that is not the place that names it.
    via: Option<SocketAddr>,
    /// How far it is encrypted.
    #[cfg(feature = "tls")]
    secrecy: Secrecy,
}

/// Whether and how what is said is encrypted.
#[cfg(feature = "tls")]
#[derive(Clone, PartialEq, Eq)]
enum Secrecy {
    Plain,
    /// As the system trusts.
    Usual,
    As(Tls),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Login {
    user: Option<String>,
    password: Option<String>,
    database: i64,
}

/// Why a text names no Redis server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It has another scheme, or none.
    #[error(
        "`{0}` is not the address of a Redis server: write `redis://host:port`, with a password \
         `redis://user:password@host:port`, with a database `redis://host:port/1`, or `unix:///path/to/socket`"
    )]
    Scheme(String),
    /// It asks for TLS.
    #[error("`rediss://` asks for TLS, which this build does not speak: build it with the feature `tls`")]
    Tls,
    /// The rest of it is wrong.
    #[error("{0}")]
    Rest(String),
}

/// A connected byte stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl RedisEndpoint {
    /// The same, with this password if it has none of its own.
    #[must_use]
    pub fn or_password(mut self, password: &str) -> Self {
        self.login.password.get_or_insert_with(|| password.to_owned());
        self
    }

    /// The same server, reached through another address that leads to it; it is still called by its own.
    #[cfg(feature = "harness")]
    #[must_use]
    pub(crate) fn reached_at(mut self, via: SocketAddr) -> Self {
        self.via = Some(via);
        self
    }

    /// Whether the address asks for TLS.
    #[cfg(feature = "tls")]
    pub fn is_encrypted(&self) -> bool {
        self.secrecy != Secrecy::Plain
    }

    /// The same with these certificates, if the address asks for TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: &Tls) -> Self {
        if self.is_encrypted() {
            self.secrecy = Secrecy::As(tls.clone());
        }
        self
    }

    /// Its host and port, unless it is a socket in the file system.
    #[cfg(feature = "harness")]
    pub(crate) fn host_and_port(&self) -> Option<(&str, u16)> {
        match &self.place {
            Place::Tcp { host, port } => Some((host, *port)),
            Place::Unix(_) => None,
        }
    }

    /// Whether a password came with it.
    pub fn has_password(&self) -> bool {
        self.login.password.is_some()
    }

    /// What to say to the server first.
    pub(super) fn login(&self) -> RedisConnectionInfo {
        let Login { user, password, database } = &self.login;
        let mut info = RedisConnectionInfo::default().set_db(*database);
        if let Some(user) = user {
            info = info.set_username(user);
        }
        if let Some(password) = password {
            info = info.set_password(password);
        }
        info
    }

    /// A new stream to the server.
    pub(super) async fn open(&self) -> std::io::Result<std::pin::Pin<Box<dyn Stream>>> {
        match &self.place {
            Place::Tcp { host, port } => {
                let stream = match self.via {
                    Some(via) => TcpStream::connect(via).await?,
                    None => TcpStream::connect((host.as_str(), *port)).await?,
                };
                // Requests are single small packets: waiting to fill them up would only delay them.
                stream.set_nodelay(true)?;
                #[cfg(feature = "tls")]
                match &self.secrecy {
                    Secrecy::Plain => {}
                    Secrecy::Usual => {
                        let tls = Tls::usual().map_err(std::io::Error::other)?;
                        return Ok(Box::pin(tls.greet(host, stream).await?));
                    }
                    Secrecy::As(tls) => return Ok(Box::pin(tls.greet(host, stream).await?)),
                }
                Ok(Box::pin(stream))
            }
            Place::Unix(path) => Ok(Box::pin(UnixStream::connect(path).await?)),
        }
    }
}

impl FromStr for RedisEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        match scheme {
            "redis" | "valkey" | "unix" | "redis+unix" => {}
            "rediss" | "valkeys" if cfg!(feature = "tls") => {}
            "rediss" | "valkeys" => return Err(EndpointError::Tls),
            _ => return Err(EndpointError::Scheme(hidden(text))),
        }
        if rest.contains('#') {
            return Err(EndpointError::Rest("a `#` in an address must be written `%23`".to_owned()));
        }
        // The crate knows these schemes only with its own TLS, which is not used here.
        let is_encrypted = matches!(scheme, "rediss" | "valkeys");
        let plain = if is_encrypted { format!("redis://{rest}") } else { text.to_owned() };
        let info: ConnectionInfo =
            plain.into_connection_info().map_err(|error| EndpointError::Rest(error.to_string()))?;
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Place::Tcp { host: host.clone(), port: *port },
            ConnectionAddr::Unix(path) => Place::Unix(path.clone()),
            _ => return Err(EndpointError::Tls),
        };
        let settings = info.redis_settings();
        let login = Login {
            user: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            database: settings.db(),
        };
        Ok(Self {
            place,
            login,
            via: None,
            #[cfg(feature = "tls")]
            secrecy: if is_encrypted { Secrecy::Usual } else { Secrecy::Plain },
        })
    }
}

/// An address with a password, if there is one, out of sight.
fn hidden(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, place)) => format!("…@{place}"),
        None => text.to_owned(),
    }
}

impl From<SocketAddr> for RedisEndpoint {
    fn from(address: SocketAddr) -> Self {
        let place = Place::Tcp { host: address.ip().to_string(), port: address.port() };
        Self {
            place,
            login: Login::default(),
            via: None,
            #[cfg(feature = "tls")]
            secrecy: Secrecy::Plain,
        }
    }
}

impl fmt::Display for RedisEndpoint {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}")?,
            Place::Tcp { host, port } => write!(f, "{host}:{port}")?,
            Place::Unix(path) => write!(f, "{}", path.display())?,
        }
        match self.login.database {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

impl fmt::Debug for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisEndpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_whole() {
        let endpoint: RedisEndpoint = "redis://ann:s%40crt@cache.example:7001/3".parse().unwrap();
        assert_eq!(endpoint.place, Place::Tcp { host: "cache.example".to_owned(), port: 7001 });
        let login = endpoint.login();
        assert_eq!((login.username(), login.password(), login.db()), (Some("ann"), Some("s@crt"), 3));
        assert_eq!(endpoint.to_string(), "cache.example:7001/3");
        let endpoint: RedisEndpoint = "unix:///run/redis.sock?db=2".parse().unwrap();
        assert_eq!(endpoint.place, Place::Unix("/run/redis.sock".into()));
        assert_eq!(endpoint.login().db(), 2);
        let endpoint: RedisEndpoint = "redis://[::1]".parse().unwrap();
        assert_eq!(endpoint.to_string(), "[::1]:6379");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn an_address_asks_for_tls_by_its_scheme() {
        let endpoint: RedisEndpoint = "rediss://ann:s%40crt@cache.example/3".parse().unwrap();
        assert!(endpoint.is_encrypted());
        assert_eq!(endpoint.place, Place::Tcp { host: "cache.example".to_owned(), port: 6379 });
        assert_eq!((endpoint.login().password(), endpoint.login().db()), (Some("s@crt"), 3));
        let plain: RedisEndpoint = "redis://ann:s%40crt@cache.example/3".parse().unwrap();
        assert!(!plain.is_encrypted() && endpoint != plain);
    }

    #[test]
    fn a_password_is_never_shown() {
        let endpoint: RedisEndpoint = "redis://:secret@h".parse().unwrap();
        assert!(!format!("{endpoint} {endpoint:?}").contains("secret"));
        let error = "http://:secret@h".parse::<RedisEndpoint>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(endpoint.clone().or_password("other"), endpoint);
        let open: RedisEndpoint = "redis://h".parse().unwrap();
        assert_eq!(open.or_password("secret"), endpoint);
    }

    #[test]
    fn what_is_no_address_says_what_is() {
        for text in ["127.0.0.1:6379", "http://h", "", "redis://", "redis://h/zero", "redis://h:port", "redis://h#1"] {
            assert!(text.parse::<RedisEndpoint>().is_err(), "{text}");
        }
        #[cfg(not(feature = "tls"))]
        assert_eq!("rediss://h".parse::<RedisEndpoint>(), Err(EndpointError::Tls));
        // No way is read that leaves the server's certificate unlooked at.
        assert!("rediss://h/#insecure".parse::<RedisEndpoint>().is_err());
    }
}

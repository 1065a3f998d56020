//! An address to listen on, as the file and the flags write it.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use super::schema::{DEFAULT_PORT, Listen};

/// The host when only a port is said: nobody but this machine, until the operator says so.
const DEFAULT_HOST: &str = "127.0.0.1";

/// Why a text is no address; the message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ListenError(String);

/// Reads `host:port`, `host`, `port`, `[::1]:4730` or `unix:/path`.
impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Listen, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Listen::Unix(PathBuf::from(path)))
            } else {
                Err(ListenError(format!(
                    "a Unix socket needs its whole path, like unix:/run/gearpool.sock, not {text:?}"
                )))
            };
        }
        let (host, port) = if let Some(inner) = text.strip_prefix('[') {
            match inner.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, rest)) if rest.starts_with(':') => (host, Some(&rest[1..])),
                _ => return Err(unclear(text)),
            }
        } else if text.matches(':').count() > 1 {
            return Err(ListenError(format!(
                "an IPv6 address needs brackets, like \"[::1]:{DEFAULT_PORT}\", not {text:?}"
            )));
        } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            (DEFAULT_HOST, Some(text))
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(ListenError(format!(
                "an address needs its host, 0.0.0.0{text} for all of this machine's, not {text:?}"
            )));
        }
        if host
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "/[]@*,".contains(c))
        {
            return Err(unclear(text));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().map_err(|_| {
                ListenError(format!("a port is a number up to 65535, not {port:?}"))
            })?,
        };
        Ok(Listen::Tcp(host.to_owned(), port))
    }
}

fn unclear(text: &str) -> ListenError {
    ListenError(format!(
        "an address is host:port, \"[::1]:{DEFAULT_PORT}\", a port or unix:/path, not {text:?}"
    ))
}

impl Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Listen::Tcp(host, port) => write!(f, "{host}:{port}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("127.0.0.1:4730", "127.0.0.1:4730"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("jobs.example.com", "jobs.example.com:4730"),
            ("4731", "127.0.0.1:4731"),
            ("[::1]:4730", "[::1]:4730"),
            ("[::]", "[::]:4730"),
            ("unix:/run/gearpool.sock", "unix:/run/gearpool.sock"),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), shown);
            assert_eq!(shown.parse(), Ok(listen));
        }
    }

    #[test]
    fn no_addresses() {
        let messages: Vec<String> = [
            "",
            "::1",
            ":4730",
            "host:",
            "host:x",
            "host:65536",
            "70000",
            "[::1",
            "[::1]4730",
            "unix:gearpool.sock",
            "unix:",
            "tcp://host:4730",
            "*:4730",
            "a b:1",
        ]
        .iter()
        .map(|text| Listen::from_str(text).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }
}

//! Where a Gearman server is or listens, as the file, the flags and the environment write it.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Gearman's port.
pub const DEFAULT_PORT: u16 = 4730;

/// The port of TLS. IANA has none for it: gearmand with `--ssl` speaks TLS on [`DEFAULT_PORT`], and no longer plainly.
pub const DEFAULT_TLS_PORT: u16 = 4731;

/// The host when only a port is said: nobody but this machine, until the operator says so.
const DEFAULT_HOST: &str = "127.0.0.1";

/// The place of a Gearman server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    /// A host name or address, and a port.
    Tcp(String, u16),
    /// The same, and what is spoken there is TLS. Written `tls://host:port`.
    Tls(String, u16),
    /// A Unix socket's path, written `unix:/path`.
    Unix(PathBuf),
}

/// Why a text is no address; the message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl Address {
    /// Where a server is when nothing says otherwise.
    pub fn local(port: u16) -> Address {
        Address::Tcp(DEFAULT_HOST.to_owned(), port)
    }

    /// Where TLS is when nothing says otherwise.
    pub fn local_tls() -> Address {
        Address::Tls(DEFAULT_HOST.to_owned(), DEFAULT_TLS_PORT)
    }

    /// Reads `host`, `host:port`, `port`, `::1`, `[::1]`, `[::1]:4730`, any of these after `tls://`, or `unix:/path`. `port` is the
    /// one of an address that has none; without it that is [`DEFAULT_PORT`], or [`DEFAULT_TLS_PORT`].
    ///
    /// # Errors
    /// [`AddressError`], for people to read.
    pub fn parse(text: &str, port: Option<u16>) -> Result<Address, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Address::Unix(PathBuf::from(path))),
                false => Err(AddressError(format!(
                    "a Unix socket needs its whole path, like unix:/run/gearpool.sock, not {text:?}"
                ))),
            };
        }
        match text.strip_prefix("tls://") {
            Some(place) => {
                let (host, port) = host_and_port(place, port.unwrap_or(DEFAULT_TLS_PORT))?;
                Ok(Address::Tls(host, port))
            }
            None => {
                let (host, port) = host_and_port(text, port.unwrap_or(DEFAULT_PORT))?;
                Ok(Address::Tcp(host, port))
            }
        }
    }

    /// Reads several addresses with commas or blanks between them, as GEARMAN_SERVERS holds them.
    ///
    /// # Errors
    /// That of the first text which is no address.
    pub fn parse_list(text: &str, port: Option<u16>) -> Result<Vec<Address>, AddressError> {
        text.split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty())
            .map(|word| Address::parse(word, port))
            .collect()
    }

    /// The same place, spoken to in TLS; a Unix socket stays as it is, since nobody can listen in between.
    pub fn encrypted(self) -> Address {
        match self {
            Address::Tcp(host, port) => Address::Tls(host, port),
            other => other,
        }
    }

    /// The port, unless it is a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Tcp(_, port) | Address::Tls(_, port) => Some(*port),
            Address::Unix(_) => None,
        }
    }

    /// Whether TLS is spoken there.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Address::Tls(..))
    }
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), AddressError> {
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        match inner.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, rest)) if rest.starts_with(':') => (host, Some(&rest[1..])),
            _ => return Err(unclear(text)),
        }
    } else if text.matches(':').count() > 1 {
        (without_port(text)?, None)
    } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        (DEFAULT_HOST, Some(text))
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err(AddressError(format!(
            "an address needs its host, like 127.0.0.1:{DEFAULT_PORT}, or 0.0.0.0 to listen on all of this machine's, not {text:?}"
        )));
    }
    if host
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || "/[]@*,".contains(c))
    {
        return Err(unclear(text));
    }
    let port = match port {
        None => default,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().map_err(|_| AddressError(no_port(port)))?
        }
        Some(port) => return Err(AddressError(no_port(port))),
    };
    Ok((host.to_owned(), port))
}

/// An IPv6 address without brackets has no port, and `::1:4730` is one. Who writes that means a port.
fn without_port(text: &str) -> Result<&str, AddressError> {
    let digits = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    if !text.bytes().all(digits) {
        return Err(unclear(text));
    }
    let last = text.rsplit(':').next().unwrap_or_default();
    if last.len() >= 4 && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError(format!(
            "an IPv6 address needs brackets, like \"[::1]:{DEFAULT_PORT}\", to be told from its port, not {text:?}"
        )));
    }
    Ok(text)
}

fn no_port(port: &str) -> String {
    format!("a port is a number up to 65535, not {port:?}")
}

fn unclear(text: &str) -> AddressError {
    AddressError(format!(
        "an address is host:port, \"[::1]:{DEFAULT_PORT}\", a port or unix:/path, not {text:?}"
    ))
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text, None)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted() { "tls://" } else { "" };
        match self {
            Address::Tcp(host, port) | Address::Tls(host, port) if host.contains(':') => {
                write!(f, "{scheme}[{host}]:{port}")
            }
            Address::Tcp(host, port) | Address::Tls(host, port) => {
                write!(f, "{scheme}{host}:{port}")
            }
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
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
            ("::1", "[::1]:4730"),
            ("::ffff:10.0.0.1", "[::ffff:10.0.0.1]:4730"),
            ("[::1]:4730", "[::1]:4730"),
            ("[::]", "[::]:4730"),
            ("unix:/run/gearpool.sock", "unix:/run/gearpool.sock"),
            ("tls://web1", "tls://web1:4731"),
            ("tls://4732", "tls://127.0.0.1:4732"),
            ("tls://[::1]", "tls://[::1]:4731"),
            ("tls://[::1]:4730", "tls://[::1]:4730"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address), "what is shown reads back");
        }
    }

    #[test]
    fn no_addresses() {
        let messages: Vec<String> = [
            "",
            "::1:4730",
            "web:1:2",
            ":4730",
            "host:",
            "host:x",
            "host:+80",
            "host:65536",
            "70000",
            "[::1",
            "[::1]4730",
            "unix:gearpool.sock",
            "unix:",
            "tcp://host:4730",
            "tls://",
            "tls://unix:/run/gearpool.sock",
            "*:4730",
            "a b:1",
        ]
        .iter()
        .map(|text| Address::from_str(text).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn lists() {
        let shown = |text| {
            Address::parse_list(text, Some(99)).map(|list| {
                list.iter()
                    .map(Address::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        let expected = "a:1 b:99 [::1]:3 tls://c:99 tls://d:5";
        assert_eq!(
            shown("a:1,b, [::1]:3 tls://c,tls://d:5"),
            Ok(expected.to_owned())
        );
        assert_eq!(shown(" "), Ok(String::new()));
        assert!(shown("a,b:x").is_err());
    }
}

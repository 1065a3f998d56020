//! Where a Gearman server is, as people write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::DEFAULT_PORT;

/// The place of a Gearman server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or address, and a port.
    Tcp(String, u16),
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing before the port.
    #[error("\"{0}\" has no host; write HOST:PORT, [IPV6]:PORT or unix:/PATH")]
    NoHost(String),
    /// What follows the colon is no port.
    #[error("\"{0}\" has no port between 1 and 65535 after its colon")]
    Port(String),
    /// A bracket that is not closed, or something other than a port after it.
    #[error("\"{0}\" is not written as [IPV6]:PORT")]
    Bracket(String),
    /// `unix:` and nothing more.
    #[error("\"{0}\" has no path; write unix:/PATH")]
    NoPath(String),
}

impl Address {
    /// Where a server is when nothing says otherwise.
    pub fn local(port: u16) -> Address {
        Address::Tcp("127.0.0.1".to_owned(), port)
    }

    /// Reads `HOST`, `HOST:PORT`, `IPV6`, `[IPV6]`, `[IPV6]:PORT` or `unix:PATH`; `port` is the one of an address that has none.
    ///
    /// # Errors
    /// [`AddressError`], for people to read.
    pub fn parse(text: &str, port: u16) -> Result<Address, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(AddressError::NoPath(text.to_owned())),
                path => Ok(Address::Unix(path.into())),
            };
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let bracket = || AddressError::Bracket(text.to_owned());
                let (host, rest) = rest.split_once(']').ok_or_else(bracket)?;
                match rest.strip_prefix(':') {
                    Some(number) => (host, port_of(text, number)?),
                    None if rest.is_empty() => (host, port),
                    None => return Err(bracket()),
                }
            }
            // more than one colon without brackets is an IPv6 address that has no port
            None => match text.split_once(':') {
                Some((host, number)) if !number.contains(':') => (host, port_of(text, number)?),
                _ => (text, port),
            },
        };
        if host.is_empty() {
            return Err(AddressError::NoHost(text.to_owned()));
        }
        Ok(Address::Tcp(host.to_owned(), port))
    }

    /// Reads several addresses with commas or blanks between them, as GEARMAN_SERVERS holds them.
    ///
    /// # Errors
    /// That of the first text which is no address.
    pub fn parse_list(text: &str, port: u16) -> Result<Vec<Address>, AddressError> {
        text.split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty())
            .map(|word| Address::parse(word, port))
            .collect()
    }
}

fn port_of(text: &str, number: &str) -> Result<u16, AddressError> {
    match number.parse() {
        Ok(port) if port > 0 && number.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(AddressError::Port(text.to_owned())),
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text, DEFAULT_PORT)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let table = [
            ("web1", Ok("web1:4730")),
            ("web1:80", Ok("web1:80")),
            ("127.0.0.1:4731", Ok("127.0.0.1:4731")),
            ("::1", Ok("[::1]:4730")),
            ("[::1]", Ok("[::1]:4730")),
            ("[::1]:99", Ok("[::1]:99")),
            ("unix:/run/gearman.sock", Ok("unix:/run/gearman.sock")),
            ("unix:here", Ok("unix:here")),
            ("", Err("has no host")),
            (":4730", Err("has no host")),
            ("web1:", Err("has no port")),
            ("web1:0", Err("has no port")),
            ("web1:+80", Err("has no port")),
            ("web1:65536", Err("has no port")),
            ("[::1", Err("is not written as")),
            ("[::1]99", Err("is not written as")),
            ("unix:", Err("has no path")),
        ];
        for (text, expected) in table {
            match (text.parse::<Address>(), expected) {
                (Ok(address), Ok(shown)) => {
                    assert_eq!(address.to_string(), shown);
                    assert_eq!(shown.parse(), Ok(address), "what is shown reads back");
                }
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{text}: {error}");
                }
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn lists() {
        let shown = |text| {
            Address::parse_list(text, 99).map(|list| {
                list.iter()
                    .map(Address::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(shown("a:1,b, [::1]:3 "), Ok("a:1 b:99 [::1]:3".to_owned()));
        assert_eq!(shown(" "), Ok(String::new()));
        assert!(shown("a,b:x").is_err());
    }
}

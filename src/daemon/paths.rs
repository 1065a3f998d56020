//! Where the daemon keeps its things when nobody says so. The daemon and its clients both ask here, so they look in the same place.

use std::env;
use std::path::{Path, PathBuf};

use crate::config::{Address, DEFAULT_PORT, Server};
use crate::sys::user;

/// The control socket's name in the state folder.
const CONTROL_SOCKET: &str = "control.sock";

/// The default state folder of root's daemon.
pub const ROOTS: &str = "/var/lib/gearpool";

/// The state folder of a daemon whose first TCP port is `port`, Gearman's when `None`: `/var/lib/gearpool` for root, else
/// `$XDG_STATE_HOME/gearpool` or `~/.local/state/gearpool`. With another port than Gearman's its number is part of the name, so that
/// two job servers started by hand on two ports do not meet.
pub fn default_state_dir(port: Option<u16>) -> PathBuf {
    let parent = if user::effective() == 0 {
        PathBuf::from("/var/lib")
    } else {
        user_state(
            env::var_os("XDG_STATE_HOME").map(PathBuf::from),
            env::home_dir(),
        )
    };
    parent.join(name(port))
}

/// The state folder, for the daemon and its clients alike: the one that is `named` (a flag, a variable), the one that the file says, or
/// the default of the port: a flag's, else the file's first TCP one. The file's own paths are taken as they are: they have been
/// joined to its folder before.
pub fn state_dir(named: Option<&Path>, server: &Server, port: Option<u16>) -> PathBuf {
    let said = named.or(server.state_dir.as_deref());
    said.map_or_else(
        || default_state_dir(port.or_else(|| first_port(&server.listen))),
        Path::to_owned,
    )
}

/// The control socket in a state folder.
pub fn control_socket(state_dir: &Path) -> PathBuf {
    state_dir.join(CONTROL_SOCKET)
}

/// Where a daemon writes the marker of its processes, for the next one in its state folder.
pub(super) fn instance(state_dir: &Path) -> PathBuf {
    state_dir.join("instance")
}

/// The folder of the workers' output when the configuration names none.
pub fn default_log_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("logs")
}

/// The XDG base directory specification has it that a relative path is as good as none.
fn user_state(xdg: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    match (xdg, home) {
        (Some(xdg), _) if xdg.is_absolute() => xdg,
        (_, Some(home)) => home.join(".local/state"),
        // A user without a home is a service's: its unit has a folder there, or says where.
        (_, None) => PathBuf::from("/var/lib"),
    }
}

fn first_port(listen: &[Address]) -> Option<u16> {
    listen.iter().find_map(Address::port)
}

fn name(port: Option<u16>) -> String {
    match port {
        None | Some(DEFAULT_PORT) => "gearpool".to_owned(),
        Some(port) => format!("gearpool-{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_has_another_folder() {
        assert_eq!(name(None), "gearpool");
        assert_eq!(name(Some(4730)), "gearpool");
        assert_eq!(name(Some(4731)), "gearpool-4731");
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let flag = Path::new("/flag");
        let mut server = Server {
            listen: vec![
                Address::Unix(PathBuf::from("/run/gearman.sock")),
                Address::Tcp("::1".to_owned(), 4731),
            ],
            ..Server::default()
        };
        assert!(state_dir(None, &server, None).ends_with("gearpool-4731"));
        assert!(state_dir(None, &server, Some(4732)).ends_with("gearpool-4732"));
        server.state_dir = Some(PathBuf::from("/file"));
        assert_eq!(state_dir(None, &server, Some(4732)), Path::new("/file"));
        assert_eq!(state_dir(Some(flag), &server, None), flag);
    }

    #[test]
    fn a_users_state_is_where_the_desktop_keeps_it() {
        let path = |text: &str| Some(PathBuf::from(text));
        for (xdg, home, state) in [
            (path("/x"), path("/home/a"), "/x"),
            (path("x"), path("/home/a"), "/home/a/.local/state"),
            (None, path("/home/a"), "/home/a/.local/state"),
            (None, None, "/var/lib"),
        ] {
            assert_eq!(user_state(xdg, home), PathBuf::from(state));
        }
    }
}

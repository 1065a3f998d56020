//! TLS cannot cross to another program: an upgrade is refused for it, or cuts it as the network would.

use std::io::{ErrorKind, Read};

use gearpool::proto::{Grab, Request};

use crate::peer::{Peer, VERSIONS, config};
use crate::pki::Site;
use crate::support::until;

#[test]
fn an_upgrade_asks_before_it_cuts() {
    let site = Site::open();
    let config = config(&site.authority, None, &VERSIONS);
    site.daemon.ready("rev", 1);
    let mut worker = Peer::connect(site.address, &config);
    worker.send(&Request::CanDo { function: b"f" }).unwrap();
    worker.echo(b"there").unwrap();
    // through a plain connection, which would cross
    site.daemon.queue("f", &["a job".to_owned()]);
    worker.send(&Request::GrabJob(Grab::Plain)).unwrap();
    let running = || {
        let functions = site.daemon.status().functions.into_iter();
        let of_f = functions.filter(|it| it.name == "f");
        of_f.map(|it| (it.running, it.queued.iter().sum::<u64>(), it.workers))
            .next()
            .unwrap()
    };
    until("the worker to have it", || running() == (1, 0, 1));

    let refused = site.daemon.run(&["upgrade"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("1 connection speaks TLS"),
        "{refused:?}"
    );
    assert!(refused.err.contains("--force"), "{refused:?}");
    assert_eq!(running(), (1, 0, 1));

    let forced = site.daemon.run(&["upgrade", "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_eq!(running(), (0, 1, 0), "the job waits for another worker");
    let mut rest = Vec::new();
    let cut = worker.0.read_to_end(&mut rest).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::UnexpectedEof, "{cut}");

    let mut again = Peer::connect(site.address, &config);
    again.send(&Request::CanDo { function: b"f" }).unwrap();
    again.echo(b"there").unwrap();
    again.send(&Request::GrabJob(Grab::Plain)).unwrap();
    until("the next worker to have it", || running() == (1, 0, 1));
    drop(again);
    // and without them there is nothing to ask
    until("the connection to be gone", || {
        site.daemon.status().server.connections == 1
    });
    assert_eq!(site.daemon.run(&["upgrade"]).code, 0);
    assert_eq!(running(), (0, 1, 0));
}

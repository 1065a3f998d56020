//! `gearpool top`: the terminal, the daemon and the files of [`crate::top`].

use std::io::{self, IsTerminal as _, Stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event as Input};
use ratatui::layout::Size;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Failure;
use super::client::{Daemon, DaemonArgs, block_on};
use super::logs::{BURST, Form, LOOK, Logs, Sink, Wants};
use super::pool_slot::PoolSlot;
use super::terminal;
use crate::http::{Done, Order};
use crate::pools::Slot;
use crate::status::{Colour, Status};
use crate::sys::signal::suspend;
use crate::top::{Action, Event, Top, draw};

/// How often the daemon is asked.
const EACH: Duration = Duration::from_secs(1);
/// So many of the last lines of each slot are shown at first.
const LINES: usize = 200;
/// Keys and answers that wait to be taken; the keyboard waits for the rest.
const WAITING: usize = 64;

/// The status, live, with keys to scale, restart, pause and read logs
///
/// The table of "gearpool status", anew each second. One line is marked, and keys give orders about what stands there: + and - change the
/// number of a pool's processes, s holds it between two, r restarts it or the one process, x stops it, a gives it back to the file, p
/// pauses and resumes its queue, l shows what its processes write, e explains its size, / filters by name, ? tells of all keys.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gearpool top                       the daemon with the default state folder
  gearpool top -p 4731               the one on another port
  gearpool status --watch            the same table where there is no terminal, or no keys are wanted
  gearpool status --watch --json     one line of JSON each second")]
pub struct TopArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

impl TopArgs {
    /// Shows the screen until the user ends it.
    ///
    /// # Errors
    /// No terminal, or no daemon to begin with.
    pub(super) fn run(self) -> Result<u8, Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            let text = "top needs a terminal; \"gearpool status --watch\" writes the same to a pipe, with --json a line each second";
            return Err(Failure::Usage(text.to_owned()));
        }
        let daemon = self.daemon.locate()?;
        block_on(async {
            let status = daemon.status().await?;
            let mut screen = Screen::open()?;
            let mut shell = Shell::new(daemon, status, screen.size()?);
            shell.run(&mut screen).await
        })
    }
}

/// The terminal while it is ours; it is given back when this is dropped, and when the program panics.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    colour: Colour,
}

impl Screen {
    fn open() -> Result<Screen, Failure> {
        let colour = terminal::look().colour;
        let terminal = ratatui::try_init().context("cannot take over the terminal")?;
        Ok(Screen { terminal, colour })
    }

    fn size(&self) -> Result<Size, Failure> {
        let size = self.terminal.size();
        Ok(size.context("cannot ask for the terminal's size")?)
    }

    fn draw(&mut self, top: &Top) -> Result<(), Failure> {
        let drawn = self.terminal.draw(|frame| draw(top, frame, self.colour));
        drawn.context("cannot write to the terminal")?;
        Ok(())
    }

    /// Gives the terminal to the shell until it lets us go on. A new one draws everything.
    fn suspend(&mut self) -> Result<(), Failure> {
        ratatui::restore();
        suspend().context("cannot stop")?;
        self.terminal = ratatui::try_init().context("cannot take over the terminal again")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What [`Top`] hears of, and what it has done.
struct Shell {
    daemon: Daemon,
    top: Top,
    log_dir: PathBuf,
    logs: Option<Logs>,
    events: mpsc::Receiver<Event>,
    tell: mpsc::Sender<Event>,
    /// Has the daemon asked now.
    ask: Arc<Notify>,
}

impl Shell {
    fn new(daemon: Daemon, status: Status, size: Size) -> Shell {
        let (tell, events) = mpsc::channel(WAITING);
        Shell {
            daemon,
            log_dir: PathBuf::from(&status.server.log_dir),
            top: Top::new(size, Box::new(status)),
            logs: None,
            events,
            tell,
            ask: Arc::default(),
        }
    }

    async fn run(&mut self, screen: &mut Screen) -> Result<u8, Failure> {
        self.hear_of_the_end()?;
        self.hear_of_keys();
        self.hear_of_the_daemon();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            screen.draw(&self.top)?;
            let event = tokio::select! {
                event = self.events.recv() => event,
                _ = looks.tick(), if self.logs.is_some() => {
                    self.look();
                    continue;
                }
            };
            match event.and_then(|event| self.top.handle(event)) {
                Some(Action::Give(order)) => self.give(order),
                Some(Action::Follow(pool, slot)) => self.follow(pool, slot),
                Some(Action::Unfollow) => self.logs = None,
                Some(Action::Suspend) => {
                    screen.suspend()?;
                    self.top.handle(Event::Resized(screen.size()?));
                }
                Some(Action::Quit) => return Ok(0),
                None => {}
            }
        }
    }

    /// A signal that ends us gives the terminal back first.
    fn hear_of_the_end(&self) -> Result<(), Failure> {
        for kind in [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::interrupt(),
        ] {
            let mut signals = signal(kind).context("cannot listen to signals")?;
            let tell = self.tell.clone();
            tokio::spawn(async move {
                signals.recv().await;
                // nobody hears it when we are at our end already
                let _ = tell.send(Event::Ended).await;
            });
        }
        Ok(())
    }

    fn hear_of_keys(&self) {
        let tell = self.tell.clone();
        thread::spawn(move || {
            loop {
                let event = match event::read() {
                    Ok(Input::Key(key)) => Event::Key(key),
                    Ok(Input::Resize(width, height)) => Event::Resized(Size::new(width, height)),
                    Ok(_) => continue,
                    Err(_) => Event::Ended,
                };
                let is_last = matches!(event, Event::Ended);
                if tell.blocking_send(event).is_err() || is_last {
                    return;
                }
            }
        });
    }

    fn hear_of_the_daemon(&self) {
        let (daemon, tell, ask) = (self.daemon.clone(), self.tell.clone(), self.ask.clone());
        tokio::spawn(async move {
            loop {
                let event = match daemon.status().await {
                    Ok(status) => Event::Status(Box::new(status)),
                    Err(failure) => Event::Silent(failure.to_string()),
                };
                if tell.send(event).await.is_err() {
                    return;
                }
                // whichever comes first
                let _ = timeout(EACH, ask.notified()).await;
            }
        });
    }

    /// An order may take as long as a pool's check does; the screen goes on meanwhile.
    fn give(&self, order: Order) {
        let (daemon, tell, ask) = (self.daemon.clone(), self.tell.clone(), self.ask.clone());
        tokio::spawn(async move {
            let answer = daemon.post::<Done>(&order.path(), order.body()).await;
            let answer = answer
                .map(|done| done.message)
                .map_err(|failure| failure.to_string());
            let _ = tell.send(Event::Answered(answer)).await;
            ask.notify_one();
        });
    }

    /// Begins to read what is written.
    fn follow(&mut self, pool: String, slot: Option<Slot>) {
        let slot = slot.map(|slot| slot.0);
        let which = PoolSlot { pool, slot };
        let mut logs = Logs::new(self.log_dir.clone(), Some(which), Form::Text(Colour::Off));
        let mut gathered = Gathered::default();
        let begun = logs.begin(LINES, true, &mut gathered);
        self.written(gathered, begun);
        self.logs = Some(logs);
    }

    fn look(&mut self) {
        let mut gathered = Gathered::default();
        if let Some(logs) = &mut self.logs {
            let looked = logs.look(&mut gathered);
            self.written(gathered, looked);
        }
    }

    fn written(&mut self, gathered: Gathered, read: Result<Wants, Failure>) {
        let Gathered { bytes, mut said } = gathered;
        if !bytes.is_empty() {
            self.top.handle(Event::Written(bytes));
        }
        said.extend(read.err().map(|failure| failure.to_string()));
        for why in said {
            self.top.handle(Event::Unreadable(why));
        }
    }
}

/// What was written between two looks.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    said: Vec<String>,
}

impl Sink for Gathered {
    fn write(&mut self, out: &mut Vec<u8>) -> Result<Wants, Failure> {
        self.bytes.append(out);
        // A screen shows the last of a flood, and has keys to attend to.
        Ok(match self.bytes.len() < BURST {
            true => Wants::All,
            false => Wants::Newest,
        })
    }

    fn say(&mut self, text: String) {
        self.said.push(text);
    }
}

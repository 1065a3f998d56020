//! Keys and snapshots in, orders and screens out.

use std::time::Duration;

use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::pools::view::ProcessState;
use crate::status::Colour;
use crate::status::samples::{empty, failing, function, healthy, member, pool};

fn top(status: Status) -> Top {
    Top::new(Size::new(100, 30), Box::new(status))
}

fn screen(top: &Top, colour: Colour) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(top.size.width, top.size.height)).unwrap();
    terminal.draw(|frame| draw(top, frame, colour)).unwrap();
    terminal.backend().buffer().clone()
}

/// The rows, the ones in reverse marked with `>`.
fn rows(top: &Top) -> Vec<String> {
    let buffer = screen(top, Colour::Off);
    let row = |y| {
        let cells = (0..buffer.area.width).map(|x| &buffer[(x, y)]);
        let text: String = cells.map(|cell| cell.symbol()).collect();
        let is_marked = buffer[(0, y)].modifier.contains(Modifier::REVERSED);
        let mark = if is_marked { "> " } else { "  " };
        format!("{mark}{text}").trim_end().to_owned()
    };
    (0..buffer.area.height).map(row).collect()
}

fn text(top: &Top) -> String {
    rows(top).join("\n")
}

fn last_but_one(top: &Top) -> String {
    let rows = rows(top);
    rows[rows.len() - 2].trim().to_owned()
}

fn press(top: &mut Top, code: KeyCode) -> Option<Action> {
    top.handle(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn type_in(top: &mut Top, text: &str) -> Option<Action> {
    let actions = text.chars().map(|letter| press(top, KeyCode::Char(letter)));
    actions.last().flatten()
}

fn select(top: &mut Top, subject: Subject) {
    press(top, KeyCode::Home);
    while top.selected.as_ref() != Some(&subject) {
        let before = top.place;
        press(top, KeyCode::Down);
        assert_ne!(top.place, before, "{subject:?} is not there");
    }
}

fn fetch() -> Subject {
    Subject::Pool("fetchURL".to_owned())
}

fn give(order: Order) -> Option<Action> {
    Some(Action::Give(order))
}

#[test]
fn it_begins_with_the_first_pool() {
    assert_snapshot!(text(&top(healthy())));
}

#[test]
fn without_pools_it_begins_with_the_first_function() {
    let mut status = empty();
    status.functions = vec![function("reverse", [0, 1, 0], 0, 1)];
    let mut top = top(status);
    assert_eq!(top.selected, Some(Subject::Function("reverse".to_owned())));
    assert_eq!(type_in(&mut top, "l"), None);
    assert_eq!(last_but_one(&top), "no pool serves reverse");
    let mut top = Top::new(Size::new(80, 24), Box::new(empty()));
    assert_eq!(type_in(&mut top, "jkGgsarxlep+-"), None);
}

#[test]
fn keys_give_the_orders_of_the_commands() {
    let mut top = top(healthy());
    let pool = || "fetchURL".to_owned();
    let process = Subject::Process(pool(), Slot(2));
    let three = Bounds { min: 3, max: 3 };
    let four = Bounds { min: 4, max: 4 };
    let some = Bounds { min: 5, max: 40 };
    for (subject, keys, action) in [
        (fetch(), "a", give(Order::Start(pool()))),
        (fetch(), "ry", give(Order::Restart(pool(), None))),
        (fetch(), "rn", None),
        (fetch(), "xy", give(Order::Stop(pool()))),
        (fetch(), "xq", None),
        (fetch(), "p", give(Order::Pause(pool()))),
        (fetch(), "+", give(Order::Scale(pool(), three))),
        (fetch(), "+", give(Order::Scale(pool(), four))),
        (fetch(), "-", give(Order::Scale(pool(), three))),
        (fetch(), "s5..40\n", give(Order::Scale(pool(), some))),
        (
            process.clone(),
            "ry",
            give(Order::Restart(pool(), Some(Slot(2)))),
        ),
        (process.clone(), "xy", give(Order::Stop(pool()))),
        (process, "l", Some(Action::Follow(pool(), Some(Slot(2))))),
        (fetch(), "q", Some(Action::Unfollow)),
        (fetch(), "l", Some(Action::Follow(pool(), None))),
    ] {
        if !matches!(top.mode, Mode::Log(_)) {
            select(&mut top, subject);
        }
        let pressed = keys.chars().map(|key| match key {
            '\n' => press(&mut top, KeyCode::Enter),
            key => press(&mut top, KeyCode::Char(key)),
        });
        assert_eq!(pressed.last().flatten(), action, "{keys}");
    }
    press(&mut top, KeyCode::Esc);
    assert_eq!(type_in(&mut top, "q"), Some(Action::Quit));
}

#[test]
fn a_function_is_paused_and_resumed_by_the_same_key() {
    let mut status = healthy();
    let mut top = top(status.clone());
    let crop = || "crop".to_owned();
    select(&mut top, Subject::Function(crop()));
    assert_eq!(type_in(&mut top, "p"), give(Order::Pause(crop())));
    status.functions[0].paused = true;
    top.handle(Event::Status(Box::new(status)));
    assert_eq!(type_in(&mut top, "p"), give(Order::Resume(crop())));
    // What serves several does not say which one is meant.
    select(&mut top, Subject::Pool("images".to_owned()));
    assert_eq!(type_in(&mut top, "p"), None);
    assert_eq!(
        last_but_one(&top),
        "images serves 2 functions: choose one of them"
    );
    select(&mut top, Subject::Worker("10.0.0.5:53211".to_owned()));
    assert_eq!(type_in(&mut top, "r"), None);
    assert!(last_but_one(&top).contains("was not started by Gearpool"));
}

#[test]
fn a_wrong_size_is_said_and_can_be_mended() {
    let mut top = top(healthy());
    type_in(&mut top, "s40..5");
    assert_eq!(
        last_but_one(&top),
        "fetchURL: how many? N, or MIN..MAX: 40..5█"
    );
    assert_eq!(press(&mut top, KeyCode::Enter), None);
    assert_eq!(last_but_one(&top), "40 is more than 5; write 5..40");
    for _ in 0..3 {
        press(&mut top, KeyCode::Backspace);
    }
    let bounds = Bounds { min: 40, max: 40 };
    let order = Order::Scale("fetchURL".to_owned(), bounds);
    assert_eq!(press(&mut top, KeyCode::Enter), give(order));
    assert_eq!(last_but_one(&top), "scale fetchURL 40 …");
    top.handle(Event::Answered(Err("no".to_owned())));
    assert_eq!(last_but_one(&top), "no");
    press(&mut top, KeyCode::Down);
    assert_eq!(last_but_one(&top), "");
}

#[test]
fn the_selection_stays_with_what_it_is_on() {
    let mut status = healthy();
    let mut top = top(status.clone());
    let images = Subject::Pool("images".to_owned());
    select(&mut top, images.clone());
    status.pools[0].members.clear();
    status.functions.clear();
    top.handle(Event::Status(Box::new(status.clone())));
    assert_eq!(top.selected, Some(images));
    // What takes the place of something that is gone is what stood beside it.
    status.pools.remove(1);
    top.handle(Event::Status(Box::new(status)));
    let worker = Subject::Worker("10.0.0.5:53211".to_owned());
    assert_eq!(top.selected, Some(worker));
}

#[test]
fn a_long_table_is_scrolled_and_folded() {
    let members = (1..=120).map(|slot| member(slot, ProcessState::Running));
    let mut status = healthy();
    status.pools = vec![pool("fetchURL", members.collect())];
    let mut top = top(status);
    press(&mut top, KeyCode::PageDown);
    press(&mut top, KeyCode::PageDown);
    assert_snapshot!(text(&top));
    press(&mut top, KeyCode::End);
    press(&mut top, KeyCode::Up);
    let last = Subject::Process("fetchURL".to_owned(), Slot(120));
    assert_eq!(top.selected, Some(last));
    press(&mut top, KeyCode::Left);
    assert_eq!(top.selected, Some(fetch()));
    assert!(!text(&top).contains("fetchURL/120"));
    assert!(text(&top).contains("120 of 120 processes"));
    press(&mut top, KeyCode::Enter);
    assert!(text(&top).contains("fetchURL/1 "));
    press(&mut top, KeyCode::Home);
    assert_eq!(
        top.scroll, 0,
        "the titles above the first line are in sight"
    );
}

#[test]
fn a_filter_leaves_what_has_the_text_in_its_name() {
    let mut top = top(healthy());
    type_in(&mut top, "/CROP");
    assert_eq!(last_but_one(&top), "only with this in its name: CROP█");
    press(&mut top, KeyCode::Enter);
    assert_snapshot!(text(&top));
    press(&mut top, KeyCode::Esc);
    assert!(text(&top).contains("fetchURL/1"));
}

#[test]
fn what_workers_write_is_read_and_followed() {
    let mut top = top(healthy());
    type_in(&mut top, "l");
    assert_eq!(last_but_one(&top), "nothing yet");
    top.handle(Event::Written(
        b"fetchURL/1 | one\nfetchURL/2 | two\n".to_vec(),
    ));
    let shown = rows(&top);
    assert_eq!(shown[0], "> fetchURL: what it writes, as it comes");
    assert_eq!(shown[1..3], ["  fetchURL/1 | one", "  fetchURL/2 | two"]);
    top.handle(Event::Written("more\n".repeat(100).into_bytes()));
    press(&mut top, KeyCode::PageUp);
    assert!(rows(&top)[0].contains("End goes on to what comes"));
    top.handle(Event::Unreadable("cannot read it".to_owned()));
    assert_eq!(last_but_one(&top), "cannot read it");
    assert_eq!(press(&mut top, KeyCode::Esc), Some(Action::Unfollow));
    assert!(text(&top).contains("FUNCTION"));
}

#[test]
fn a_pool_is_explained_and_the_keys_are() {
    let mut top = top(healthy());
    type_in(&mut top, "e");
    assert_snapshot!(text(&top));
    type_in(&mut top, "q?");
    top.handle(Event::Resized(Size::new(60, 12)));
    press(&mut top, KeyCode::End);
    assert_snapshot!(text(&top));
    press(&mut top, KeyCode::Up);
    assert!(last_but_one(&top).starts_with("lines "));
    press(&mut top, KeyCode::Esc);
    assert!(text(&top).contains("fetchURL"));
}

#[test]
fn a_daemon_that_is_gone_is_said_until_it_is_back() {
    let mut top = top(healthy());
    top.handle(Event::Silent("no gearpool runs there".to_owned()));
    assert_eq!(last_but_one(&top), "> no gearpool runs there; trying again");
    press(&mut top, KeyCode::Down);
    assert_eq!(last_but_one(&top), "> no gearpool runs there; trying again");
    top.handle(Event::Status(Box::new(healthy())));
    assert_eq!(last_but_one(&top), "");
}

#[test]
fn rates_come_from_two_snapshots() {
    let mut status = healthy();
    let mut top = top(status.clone());
    let rate = |top: &Top| top.view.rates.get("fetchURL").copied();
    let later = |status: &mut Status, millis, ended| {
        status.server.up += Duration::from_millis(millis);
        status.functions[1].completed += ended;
        Event::Status(Box::new(status.clone()))
    };
    top.handle(later(&mut status, 100, 5));
    assert_eq!(rate(&top), None, "too near to tell");
    top.handle(later(&mut status, 900, 5));
    assert_eq!(rate(&top), Some(10.0));
    top.handle(later(&mut status, 100, 90));
    assert_eq!(rate(&top), Some(10.0), "what was known until there is more");
    // Another daemon, that has just begun.
    status.server.up = Duration::ZERO;
    status.functions[1].completed = 0;
    top.handle(later(&mut status, 500, 0));
    assert_eq!(rate(&top), None);
    top.handle(later(&mut status, 2000, 50));
    assert_eq!(rate(&top), Some(25.0));
}

#[test]
fn colours_are_those_of_the_status_or_none() {
    let top = top(failing());
    let colours = |colour| {
        let buffer = screen(&top, colour);
        let cells = buffer.content().iter();
        let colours = cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        colours.count()
    };
    assert_eq!(colours(Colour::Off), 0);
    assert!(colours(Colour::On) > 100);
}

#[test]
fn any_size_of_screen_will_do() {
    for status in [healthy(), failing(), empty()] {
        for keys in ["", "l", "e", "?", "s12", "/a", "x"] {
            let mut top = top(status.clone());
            type_in(&mut top, keys);
            top.handle(Event::Written("日本語 line\n".repeat(50).into_bytes()));
            for (width, height) in [(1, 1), (3, 2), (20, 3), (7, 40), (300, 5), (200, 80)] {
                top.handle(Event::Resized(Size::new(width, height)));
                for code in [KeyCode::Down, KeyCode::PageDown, KeyCode::End, KeyCode::Up] {
                    press(&mut top, code);
                    screen(&top, Colour::On);
                }
            }
        }
    }
}

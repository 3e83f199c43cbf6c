//! Every order in which messages may arrive and orders may be given: exhaustively, not by chance.
//!
//! A world is run again and again. Somebody on the path holds every datagram back, and at each step one of those that are
//! held arrives, or is lost, or one of the orders is given; which one is a choice, and all choices are gone through.

use crate::World;
use sa::Order;
use sim::Datagram;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Steps of one schedule: more than any collision of two exchanges takes.
const MAX_STEPS: usize = 64;

/// Longer than the keepers of an exploration take, and shorter than any wait of an endpoint.
const KEEPERS: Duration = Duration::from_millis(10);

/// Gives an order to a site: the one that it returns, or one of its own.
pub type Give<'a> = &'a dyn Fn(&mut World) -> Option<Order>;

/// What is explored.
pub struct Exploration<'a> {
    /// Makes the world, in which everything stands.
    pub world: &'a dyn Fn() -> World,
    /// Orders, each given once, at any moment.
    pub orders: &'a [(&'a str, Give<'a>)],
    /// How many datagrams may be lost.
    pub losses: usize,
    /// Looks at the world after each step.
    pub each: &'a dyn Fn(&mut World),
    /// Looks at the world in the end, when all has arrived and a while has gone by. It is told what was done.
    pub end: &'a dyn Fn(&mut World, &str),
}

/// Choices made, and how many there were.
#[derive(Default)]
struct Choices {
    made: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    fn choose(&mut self, options: usize) -> usize {
        let choice = match self.made.get(self.next) {
            Some((choice, _)) => *choice,
            None => {
                self.made.push((0, options));
                0
            }
        };
        self.next += 1;
        choice
    }

    /// The next schedule; `false` when that was the last.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((choice, options)) = self.made.pop() {
            if choice + 1 < options {
                self.made.push((choice + 1, options));
                return true;
            }
        }
        false
    }
}

impl Exploration<'_> {
    /// Goes through all schedules; how many there were.
    ///
    /// # Panics
    /// When a schedule does not end, or one of the looks panics: that is what they are for.
    pub fn run(&self) -> usize {
        let mut choices = Choices::default();
        let mut count = 0;
        loop {
            self.one(&mut choices);
            count += 1;
            if !choices.advance() {
                return count;
            }
        }
    }

    fn one(&self, choices: &mut Choices) {
        let mut world = (self.world)();
        let held: Arc<Mutex<Vec<Datagram>>> = Arc::default();
        let pool = held.clone();
        world.attack(move |scene| {
            pool.lock().unwrap_or_else(PoisonError::into_inner).push(scene.datagram.clone());
            scene.take();
        });
        let mut open: Vec<usize> = (0..self.orders.len()).collect();
        let mut losses = self.losses;
        let mut story = String::new();
        for _ in 0..MAX_STEPS {
            let mut waiting = held.lock().unwrap_or_else(PoisonError::into_inner).len();
            if waiting == 0 && open.is_empty() {
                // A keeper may answer late.
                world.run(KEEPERS);
                waiting = held.lock().unwrap_or_else(PoisonError::into_inner).len();
            }
            let lossy = if losses > 0 { waiting } else { 0 };
            let options = open.len() + waiting + lossy;
            if options == 0 {
                break;
            }
            let choice = choices.choose(options);
            if choice < open.len() {
                let (name, order) = &self.orders[open.remove(choice)];
                story += &format!(" {name} orders;");
                if let Some(order) = order(&mut world) {
                    world.order(name, order);
                }
            } else {
                let index = (choice - open.len()) % waiting;
                let datagram = held.lock().unwrap_or_else(PoisonError::into_inner).remove(index);
                let what = datagram.peek().map_or(String::new(), |peek| {
                    format!(
                        "{} {}{}",
                        peek.exchange,
                        if peek.response { "response " } else { "request " },
                        peek.message_id
                    )
                });
                if choice - open.len() < waiting {
                    story += &format!(" {} gets {what};", datagram.to);
                    world.inject(Duration::ZERO, datagram);
                } else {
                    losses -= 1;
                    story += &format!(" {what} to {} is lost;", datagram.to);
                }
            }
            world.run(Duration::from_millis(1));
            (self.each)(&mut world);
        }
        let left = held.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert!(left == 0 && open.is_empty(), "more than {MAX_STEPS} steps:{story}");
        world.calm();
        world.run(Duration::from_secs(400));
        (self.end)(&mut world, &story);
    }
}

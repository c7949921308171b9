//! Chains of calls that come back to actors which wait for them.

use quark_sdk::prelude::*;

quark_sdk::world!("ping-pong-actor");

#[state]
struct PingPong {
    before: State<u64>,
    after: State<u64>,
}

#[actor]
impl PingPong {
    async fn rally(&self, players: Vec<String>, ball: Ball) -> Result<Seen, PingError> {
        self.before.update(|balls| *balls += 1);
        let Some((next, others)) = players.split_first() else {
            return Ok(Seen { depth: 0, text: ball.text, items: ball.items });
        };
        let hit = turned(ball, &context::me().key);
        let mut due = hit.clone();
        others.iter().zip(&players).for_each(|(_, player)| due = turned(due.clone(), player));
        let mut seen = ping_pongs::PingPong::new(next).rally(others, &hit).await?;
        if seen.depth as usize != others.len() || seen.text != due.text || !same(&seen.items, &due.items) {
            return Err(PingError::Wrong(format!("{} of {} came back", seen.text.len(), due.text.len())));
        }
        self.after.update(|balls| *balls += 1);
        seen.depth += 1;
        Ok(seen)
    }

    async fn practise(&self, players: Vec<String>, times: u32, bytes: u32) -> Result<u32, PingError> {
        for time in 0..times {
            let ball = ball(time, bytes as usize);
            let Some((next, others)) = players.split_first() else { continue };
            let hit = turned(ball, &context::me().key);
            let mut due = hit.clone();
            others.iter().zip(&players).for_each(|(_, player)| due = turned(due.clone(), player));
            let seen = ping_pongs::PingPong::new(next).rally(others, &hit).await?;
            if seen.text != due.text || !same(&seen.items, &due.items) {
                return Err(PingError::Wrong(format!("time {time}: {} of {}", seen.text.len(), due.text.len())));
            }
        }
        Ok(times)
    }

    async fn finish(&self, players: Vec<String>, how: String) -> Result<String, PingError> {
        self.before.update(|balls| *balls += 1);
        let answer = match players.split_first() {
            Some((next, others)) => ping_pongs::PingPong::new(next).finish(others, &how).await?,
            None => end(&how)?,
        };
        self.after.update(|balls| *balls += 1);
        Ok(answer)
    }

    async fn attempt(&self, players: Vec<String>, how: String) -> Result<String, PingError> {
        self.before.update(|balls| *balls += 1);
        let Some((next, others)) = players.split_first() else { return end(&how) };
        let answer = ping_pongs::PingPong::new(next).finish(others, &how).await;
        self.after.update(|balls| *balls += 1);
        Ok(format!("{answer:?}"))
    }

    async fn fan(&self, players: Vec<String>, end: String) -> Result<u32, PingError> {
        let mut depth = 0;
        for player in &players {
            let ball = ball(depth, 100);
            depth += ping_pongs::PingPong::new(player).rally(std::slice::from_ref(&end), &ball).await?.depth;
        }
        Ok(depth)
    }

    fn score(&self) -> Result<Score, PingError> {
        Ok(Score { before: self.before.get(), after: self.after.get() })
    }
}

/// The ball after that player's stroke.
fn turned(mut ball: Ball, player: &str) -> Ball {
    ball.text.push_str(player);
    ball.items.reverse();
    ball
}

/// Another ball each time, with everything in it that a value can be.
fn ball(time: u32, bytes: usize) -> Ball {
    let text = "grün 🎾 ".chars().cycle().skip(time as usize % 7).take(bytes / 8).collect();
    let mark = |at: u32| match at % 4 {
        0 => None,
        1 => Some(Mark::Plain),
        2 => Some(Mark::Labelled(format!("№ {at}"))),
        _ => Some(Mark::Counted(u64::MAX - u64::from(at))),
    };
    let item = |at: u32| Item {
        name: format!("Schläger {at} von {time}"),
        weight: f64::from(at) / 3.0 - f64::from(time),
        data: (0..bytes / 40).map(|byte| (byte as u32).wrapping_mul(at + time) as u8).collect(),
        mark: mark(at + time),
    };
    Ball { text, items: (0..5 + time % 11).map(item).collect() }
}

fn same(one: &[Item], other: &[Item]) -> bool {
    // Bit by bit, as text.
    format!("{one:?}") == format!("{other:?}")
}

fn end(how: &str) -> Result<String, PingError> {
    match how {
        "ok" => Ok("point".into()),
        "trap" => panic!("the racket broke"),
        "spin" => loop {
            std::hint::spin_loop();
        },
        _ => Err(PingError::Missed(how.into())),
    }
}

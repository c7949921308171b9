//! Random policies and times: what waits, how long, and in which order it starts.

use std::time::Duration;

use super::super::{
    Action, Backoff, Children, Directive, Failures, Lifetime, RestartLimit, Strategy, Supervision, Thousandths, Verdict,
};
use super::rng::Rng;
use crate::time::Time;

const SEEDS: u64 = 3000;

fn policy(rng: &mut Rng) -> Supervision {
    let min = Duration::from_millis(1 + rng.below(1000));
    Supervision {
        strategy: rng.pick(&[Strategy::OneForOne, Strategy::AllForOne, Strategy::RestForOne]),
        restarts: RestartLimit { max: rng.below(20) as u32, within: Duration::from_millis(rng.below(60_000)) },
        backoff: Backoff {
            min,
            max: min * (1 + rng.below(100) as u32),
            factor: Thousandths(1000 + rng.below(5000) as u32),
            jitter: Thousandths(rng.below(1001) as u32),
            reset_after: Duration::from_millis(rng.below(100_000)),
        },
    }
}

/// The wait before the restart that follows so many failures in a row, at the longest.
fn longest(backoff: &Backoff, failures: usize) -> Duration {
    let factor = f64::from(backoff.factor.0) / 1000.0;
    match failures {
        0 => Duration::ZERO,
        more => backoff.max.min(backoff.min.mul_f64(factor.powi(more as i32 - 1).min(1e9))),
    }
}

#[test]
fn each_wait_is_longer_than_the_one_before_and_within_its_bounds() {
    for seed in 0..SEEDS {
        let rng = &mut Rng::new(seed);
        let policy =
            Supervision { restarts: RestartLimit { max: 1000, within: Duration::from_secs(1000) }, ..policy(rng) };
        let (mut failures, mut now) = (Failures::default(), Time(1));
        now = now.after(policy.backoff.reset_after);
        for failed in 0..40 {
            let Verdict::Restart(at) = failures.failed(&policy, now, rng.next()) else { panic!("seed {seed}") };
            let longest = longest(&policy.backoff, failed);
            let shortest = longest - policy.backoff.jitter.of(longest);
            let wait = at.since(now);
            // The test's own reckoning is rounded.
            let slack = longest / 100_000 + Duration::from_micros(1);
            assert!(wait <= longest + slack && wait + slack >= shortest, "seed {seed}: {failed}: {wait:?} {longest:?}");
            assert_eq!(failures.verdict(now).is_some(), at > now);
            assert_eq!(failures.verdict(at), None);
            let reset = Duration::from_nanos(rng.below(policy.backoff.reset_after.as_nanos().max(1) as u64));
            now = at.after(reset);
            if policy.backoff.reset_after.is_zero() {
                break;
            }
        }
        now = now.after(policy.backoff.max).after(policy.backoff.reset_after);
        if !policy.backoff.reset_after.is_zero() {
            assert_eq!(failures.failed(&policy, now, rng.next()), Verdict::Restart(now), "seed {seed}: a good time");
        }
    }
}

#[test]
fn too_many_failures_cool_down_and_then_count_anew() {
    for seed in 0..SEEDS {
        let rng = &mut Rng::new(seed);
        let policy = policy(rng);
        let (mut failures, mut restarts, mut now) = (Failures::default(), Vec::<Time>::new(), Time(1));
        for _ in 0..60 {
            now = now.after(Duration::from_millis(rng.below(20_000)));
            let held = failures.verdict(now);
            let within = restarts.iter().filter(|at| now.since(**at) <= policy.restarts.within).count() as u32;
            let verdict = failures.failed(&policy, now, rng.next());
            match (held, verdict) {
                (Some(cooling @ Verdict::CoolDown(_)), verdict) => assert_eq!(verdict, cooling, "seed {seed}"),
                (_, Verdict::Restart(_)) => {
                    assert!(within < policy.restarts.max, "seed {seed}");
                    restarts.push(now);
                    assert_eq!(failures.count(&policy, now), within + 1);
                }
                (_, Verdict::CoolDown(until)) => {
                    assert_eq!(within, policy.restarts.max, "seed {seed}");
                    assert_eq!(until, now.after(policy.restarts.within));
                    restarts.clear();
                }
            }
        }
        failures.forgive();
        assert_eq!(failures.verdict(now), None);
    }
}

#[test]
fn nothing_starts_early_twice_or_before_those_that_it_stands_behind() {
    for seed in 0..SEEDS {
        let rng = &mut Rng::new(seed);
        let policy = policy(rng);
        let mut children = Children::new(policy);
        let lifetimes = [Lifetime::Permanent, Lifetime::Transient, Lifetime::Temporary];
        let count = 1 + rng.below(8);
        (0..count).for_each(|name| children.spawn(name, rng.pick(&lifetimes)).unwrap());
        let mut up = vec![true; usize::try_from(count).unwrap()];
        let mut restarts: Vec<Time> = Vec::new();
        let mut now = Time(1);
        for _ in 0..80 {
            let due = children.next_due();
            let failing = rng.below(count);
            let runs = children.is_up(&failing);
            let actions = match (due, rng.below(3)) {
                (Some(due), 0) => {
                    assert!(due >= now, "seed {seed}: it was due before");
                    assert!(due == now || children.due(Time(due.0 - 1)).is_empty(), "seed {seed}: too early");
                    now = due;
                    children.due(now)
                }
                _ if children.is_held() => children.release(),
                _ => {
                    // Not past what is due: a driver does that first.
                    let next = now.after(Duration::from_millis(rng.below(2000)));
                    now = due.map_or(next, |due| next.min(due)).max(now);
                    let directive = if rng.below(10) == 0 { Directive::Resume } else { Directive::Restart };
                    let actions = children.failed(&failing, directive, now, rng.next());
                    if runs {
                        up[usize::try_from(failing).unwrap()] = false;
                        let over = actions.contains(&Action::Escalate);
                        if directive == Directive::Restart && children.contains(&failing) && !over {
                            restarts.push(now);
                        }
                    }
                    actions
                }
            };
            for action in actions {
                match action {
                    Action::Start(name) => {
                        let at = usize::try_from(name).unwrap();
                        assert!(!std::mem::replace(&mut up[at], true), "seed {seed}: {name} runs already");
                        let before = (0..name).filter(|it| children.contains(it) && !children.is_up(it)).count();
                        if policy.strategy != Strategy::OneForOne && before > 0 {
                            // Only those that were resumed alone stay behind, and they do not belong to its group.
                            assert!(children.starts_at(&(name - 1)).is_none_or(|due| due > now));
                        }
                    }
                    Action::Hold(name) => {
                        let at = usize::try_from(name).unwrap();
                        assert!(std::mem::replace(&mut up[at], false), "seed {seed}: {name} is down already");
                    }
                    Action::Stop(name) => up[usize::try_from(name).unwrap()] = false,
                    Action::Escalate => restarts.clear(),
                }
            }
            let within = restarts.iter().filter(|at| now.since(**at) <= policy.restarts.within).count();
            assert!(within <= policy.restarts.max as usize, "seed {seed}: {within} restarts");
            for name in 0..count {
                let at = usize::try_from(name).unwrap();
                assert_eq!(up[at], children.is_up(&name), "seed {seed}: {name}");
                let waits = children.contains(&name) && !up[at] && !children.is_held();
                assert!(!waits || children.starts_at(&name).is_some_and(|at| at != Time::NEVER), "seed {seed}: {name}");
            }
        }
    }
}

use crate::{dialect::Polls, record::OperationId, sync::lock};
use std::{collections::HashMap, fmt, mem, sync::Mutex, time::Duration};

/// Operations of which polls are counted at a time, at least; at most twice as many.
const COUNTED: usize = 8_192;

/// Counts polls, for dialects that ask for it. Bounded: of what has not been polled since many others were, it forgets.
#[derive(Default)]
pub(crate) struct PollCounts(Mutex<Counts>);

/// Two generations: when the younger is full it becomes the elder, which is forgotten.
#[derive(Default)]
struct Counts {
    younger: HashMap<OperationId, Count>,
    elder: HashMap<OperationId, Count>,
}

#[derive(Clone, Copy)]
struct Count {
    polls: u32,
    last: Duration,
    results: u32,
}

impl PollCounts {
    /// Counts one poll at the moment `now`; gives what came before it.
    pub(crate) fn count(&self, id: OperationId, now: Duration) -> Polls {
        let mut counts = lock(&self.0);
        let before = match counts.younger.get(&id) {
            Some(count) => Some(*count),
            None => counts.elder.remove(&id),
        };
        if before.is_none() && counts.younger.len() >= COUNTED {
            counts.elder = mem::take(&mut counts.younger);
        }
        let seen = seen(before, now);
        let count = Count {
            polls: seen.before.saturating_add(1),
            last: now,
            results: seen.results,
        };
        counts.younger.insert(id, count);
        seen
    }

    /// What a poll at the moment `now` would be given; counts none.
    pub(crate) fn look(&self, id: OperationId, now: Duration) -> Polls {
        let counts = lock(&self.0);
        let Counts { younger, elder } = &*counts;
        seen(younger.get(&id).or_else(|| elder.get(&id)).copied(), now)
    }

    /// A poll that was counted was answered with the result, and that was read to its end.
    pub(crate) fn gave_result(&self, id: OperationId) {
        let mut counts = lock(&self.0);
        let Counts { younger, elder } = &mut *counts;
        if let Some(count) = younger.get_mut(&id).or_else(|| elder.get_mut(&id)) {
            count.results = count.results.saturating_add(1);
        }
    }
}

fn seen(before: Option<Count>, now: Duration) -> Polls {
    let (polls, results) = before.map_or((0, 0), |count| (count.polls, count.results));
    let since_last = before.map(|count| now.saturating_sub(count.last));
    Polls::new(polls, since_last).with_results(results)
}

impl fmt::Debug for PollCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PollCounts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_counted_for_each_operation() {
        let (polls, [a, b]) = (
            PollCounts::default(),
            [(); 2].map(|()| OperationId::random()),
        );
        let at = Duration::from_secs;
        assert_eq!(polls.count(a, at(1)), Polls::new(0, None));
        assert_eq!(polls.count(a, at(3)), Polls::new(1, Some(at(2))));
        assert_eq!(polls.count(b, at(3)), Polls::new(0, None));
        assert_eq!(polls.count(a, at(4)), Polls::new(2, Some(at(1))));
    }

    #[test]
    fn a_look_is_no_poll() {
        let (polls, id) = (PollCounts::default(), OperationId::random());
        let at = Duration::from_secs;
        assert_eq!(polls.look(id, at(1)), Polls::new(0, None));
        assert_eq!(polls.count(id, at(2)), Polls::new(0, None));
        polls.gave_result(id);
        let given = Polls::new(1, Some(at(3))).with_results(1);
        assert_eq!([polls.look(id, at(5)), polls.count(id, at(5))], [given; 2]);
        // Nor does it keep anybody from being forgotten.
        for _ in 0..COUNTED {
            polls.count(OperationId::random(), at(5));
        }
        assert_eq!(polls.look(id, at(6)).before, 2);
        assert!(!polls.0.lock().unwrap().younger.contains_key(&id));
    }

    #[test]
    fn results_are_counted_beside_polls() {
        let (polls, id) = (PollCounts::default(), OperationId::random());
        let now = Duration::ZERO;
        polls.gave_result(id);
        assert_eq!(polls.count(id, now).results, 0);
        polls.gave_result(id);
        assert_eq!(polls.count(id, now).results, 1);
        let counted = polls.count(id, now);
        assert_eq!((counted.before, counted.results), (2, 1));
    }

    #[test]
    fn a_result_that_is_given_after_many_others_were_polled_counts() {
        let (polls, id) = (PollCounts::default(), OperationId::random());
        let now = Duration::ZERO;
        polls.count(id, now);
        for _ in 0..COUNTED {
            polls.count(OperationId::random(), now);
        }
        assert!(polls.0.lock().unwrap().elder.contains_key(&id));
        polls.gave_result(id);
        assert_eq!(polls.count(id, now).results, 1);
    }

    #[test]
    fn what_many_others_were_polled_after_is_forgotten() {
        let (polls, id) = (PollCounts::default(), OperationId::random());
        let now = Duration::ZERO;
        let others = |count| {
            for _ in 0..count {
                polls.count(OperationId::random(), now);
            }
        };
        polls.count(id, now);
        others(COUNTED);
        assert_eq!(polls.count(id, now).before, 1);
        others(4 * COUNTED);
        assert_eq!(polls.count(id, now).before, 0);
        let counts = polls.0.lock().unwrap();
        assert!(counts.younger.len() <= COUNTED + 1 && counts.elder.len() <= COUNTED + 1);
    }
}

//! What is made of atomics by hand, in every order that the memory model allows.
//!
//! The sources are those of the library, with loom's atomics in the place of the standard library's. What is guarded by a
//! lock there is relaxed here: less may be relied on than could be.

#[path = "../src/operations/audience.rs"]
mod audience;
#[path = "../src/operations/duty.rs"]
mod duty;
#[path = "../src/operations/plan.rs"]
mod plan;
#[path = "../src/operations/tally.rs"]
mod tally;

mod sync {
    pub(crate) use loom::sync::atomic;
}

use audience::Audience;
use duty::Duty;
use loom::{
    model,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};
use plan::Plan;
use tally::{AtomicTally, PENDING, TAKEN, Tally};

#[test]
fn who_waits_sees_the_change_or_is_seen_by_who_made_it() {
    model(|| {
        let (audience, has_changed) = <(Arc<Audience>, Arc<AtomicBool>)>::default();
        let changing = {
            let (audience, has_changed) = (audience.clone(), has_changed.clone());
            thread::spawn(move || {
                has_changed.store(true, Relaxed);
                audience.is_there()
            })
        };
        audience.join();
        let sees_it = has_changed.load(Relaxed);
        let is_told = changing.join().unwrap();
        assert!(sees_it || is_told);
        audience.leave();
        assert!(!audience.is_there());
    });
}

#[test]
fn somebody_listens_while_anybody_waits() {
    model(|| {
        let (audience, duty) = <(Arc<Audience>, Arc<Duty>)>::default();
        assert!(duty.take());
        let listening = {
            let (audience, duty) = (audience.clone(), duty.clone());
            thread::spawn(move || {
                if audience.is_there() {
                    return;
                }
                duty.give_up();
                if audience.is_there() {
                    duty.take();
                }
            })
        };
        audience.join();
        duty.take();
        listening.join().unwrap();
        assert!(duty.is_taken());
    });
}

#[test]
fn of_many_one_is_on_duty() {
    model(|| {
        let duty = Arc::<Duty>::default();
        let others = [(); 2].map(|()| {
            let duty = duty.clone();
            thread::spawn(move || duty.take())
        });
        let takes_it = duty.take();
        let others = others.map(|other| other.join().unwrap());
        let on_duty = [takes_it, others[0], others[1]];
        assert_eq!(on_duty.iter().filter(|is_on| **is_on).count(), 1);
    });
}

#[test]
fn what_is_told_in_a_round_is_found_by_it_or_left_for_the_next() {
    const TOLD: u64 = 5;
    const FOUND: u64 = 60;
    model(|| {
        let (plan, is_there) = <(Arc<Plan>, Arc<AtomicBool>)>::default();
        let telling = {
            let (plan, is_there) = (plan.clone(), is_there.clone());
            thread::spawn(move || {
                is_there.store(true, Relaxed);
                plan.due(TOLD)
            })
        };
        plan.take_back();
        let is_found = is_there.load(Relaxed);
        plan.next(FOUND);
        let rest = plan.at();
        let is_woken = telling.join().unwrap();
        assert!(is_found || plan.at() == TOLD);
        // Who rests too long is woken.
        assert!(is_found || rest == TOLD || is_woken);
    });
}

/// Takes a place of so many, and whether what it is for is accepted.
fn take(tally: &AtomicTally, places: u64) -> Option<bool> {
    let has_room = |tally: Tally| tally.taken() < places;
    let is_taken = tally.add_if(TAKEN, has_room);
    is_taken.then(|| tally.add_if(PENDING, Tally::is_open))
}

#[test]
fn there_are_no_more_places_taken_than_there_are() {
    model(|| {
        let (tally, inside) = <(Arc<AtomicTally>, Arc<AtomicBool>)>::default();
        let visit = {
            let inside = inside.clone();
            move |tally: &AtomicTally| {
                if take(tally, 1).is_some() {
                    assert!(!inside.swap(true, Relaxed));
                    inside.store(false, Relaxed);
                    tally.sub(TAKEN + PENDING);
                }
            }
        };
        let other = {
            let (tally, visit) = (tally.clone(), visit.clone());
            thread::spawn(move || visit(&tally))
        };
        visit(&tally);
        other.join().unwrap();
        assert_eq!((tally.load().taken(), tally.load().pending()), (0, 0));
    });
}

#[test]
fn what_is_accepted_is_counted_when_it_is_closed_or_refused() {
    model(|| {
        let tally = Arc::<AtomicTally>::default();
        let other = {
            let tally = tally.clone();
            thread::spawn(move || take(&tally, 2))
        };
        let counted = tally.close().pending();
        let is_accepted = other.join().unwrap().unwrap();
        assert_eq!(counted, u64::from(is_accepted));
        assert_eq!(tally.load().pending(), counted);
    });
}

#[test]
fn who_closes_sees_nothing_pending_or_is_told_by_the_last() {
    model(|| {
        let tally = Arc::<AtomicTally>::default();
        // As a worker takes what it has claimed, whatever is closed.
        tally.add(TAKEN + PENDING);
        let leave = |tally: Arc<AtomicTally>| tally.sub(TAKEN + PENDING).pending() == 0;
        let claimed = {
            let tally = tally.clone();
            thread::spawn(move || leave(tally))
        };
        let accepted = {
            let tally = tally.clone();
            thread::spawn(move || match take(&tally, 9) {
                Some(true) => leave(tally),
                _ => tally.sub(TAKEN).pending() == 0,
            })
        };
        let is_idle = tally.close().pending() == 0;
        let is_told = [claimed, accepted].map(|it| it.join().unwrap());
        assert!(is_idle || is_told.contains(&true));
        assert_eq!(tally.load().taken(), 0);
    });
}

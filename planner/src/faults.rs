//! Faults of the solver, made on purpose: what tests need to see that a plan survives them. Not part of the interface.

use std::cell::RefCell;

/// What goes wrong with a run of a linear program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// It ends with a status other than optimal, such as 13, a time limit that ran out.
    Status(i32),
    /// A dual is NaN.
    NotANumber,
    /// The basis of the last run is lost.
    LostBasis,
    /// It goes in circles until its iterations are used up.
    Circles,
    /// It says optimal, and primal and duals are those of nothing.
    WrongOptimum,
}

type Script = Box<dyn FnMut(u64) -> Option<Injected>>;

thread_local! {
    static SCRIPT: RefCell<Option<(u64, Script)>> = const { RefCell::new(None) };
}

/// Calls `f` while runs of linear programs on this thread fail as `script` says, which is asked with the number of the run,
/// from zero. Returns what `f` does and the number of runs there were.
pub fn with<T>(script: impl FnMut(u64) -> Option<Injected> + 'static, f: impl FnOnce() -> T) -> (T, u64) {
    /// Takes the script away even if `f` panics.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            SCRIPT.with_borrow_mut(Option::take);
        }
    }
    SCRIPT.with_borrow_mut(|slot| *slot = Some((0, Box::new(script))));
    let guard = Guard;
    let result = f();
    let runs = SCRIPT.with_borrow(|slot| slot.as_ref().map_or(0, |(runs, _)| *runs));
    drop(guard);
    (result, runs)
}

/// Whether runs on this thread may fail as a script says.
pub(crate) fn are_made() -> bool {
    SCRIPT.with_borrow(Option::is_some)
}

/// What goes wrong with the run that begins now.
pub(crate) fn next() -> Option<Injected> {
    SCRIPT.with_borrow_mut(|slot| {
        let (runs, script) = slot.as_mut()?;
        *runs += 1;
        script(*runs - 1)
    })
}

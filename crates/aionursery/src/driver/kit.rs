//! What a nursery's driver works with that knows nothing of its errors: the scope, the list of woken children with
//! the seat, the task of the body. Making and dropping these is most of what a small
//! nursery would cost, so a thread keeps them for the next one. It must never keep what anything else can still
//! reach.

use std::cell::RefCell;
use std::sync::Arc;

use super::held::HeldChildren;
use crate::builder::Builder;
use crate::child::make_idle;
use crate::polling;
use crate::scope::info::{Info, Kind, OpenedAt};
use crate::scope::{Owner, Scope, ScopeOptions};
use crate::stuck::Watch;
use crate::task::{DriverSeat, ReadyRef, TaskQueue, TaskRef};
use crate::timer::Timer;

pub(super) struct Kit {
    /// `None` while the thread stands in it, and in a kit that is kept without one.
    pub(super) scope: Option<Arc<Scope>>,
    /// The same scope, the list, and the seat: `None` while the nursery lives, whose core and block have them.
    pub(super) again: Option<Arc<Scope>>,
    pub(super) list: Option<ReadyRef>,
    pub(super) seat: Option<DriverSeat>,
    pub(super) body: TaskRef,
    pub(super) woken: TaskQueue,
    pub(super) held: HeldChildren,
    pub(super) timer: Timer,
    pub(super) watch: Option<Watch>,
    /// Of an outermost nursery without rules.
    is_plain: bool,
}

/// How many of each kind a thread keeps; none in the models, whose locks live for one run, and where a sanitizer
/// looks for what is used after its end.
const KEPT: usize = if cfg!(any(aionursery_loom, aionursery_sanitized)) { 0 } else { 64 };

/// What a thread keeps.
#[expect(clippy::vec_box, reason = "a nursery takes the box")]
struct Kits {
    /// With a scope that is as it was opened, for outermost nurseries without rules.
    rooted: Vec<Box<Kit>>,
    /// Without one.
    bare: Vec<Box<Kit>>,
}

thread_local! {
    static KITS: RefCell<Kits> = const { RefCell::new(Kits { rooted: Vec::new(), bare: Vec::new() }) };
}

impl Kit {
    /// For a nursery of these rules, which was opened there.
    #[inline]
    pub(super) fn open(rules: Option<&Builder>, place: OpenedAt) -> Box<Self> {
        let parent = polling::current();
        if rules.is_none() && parent.is_none() {
            let kept = KITS.try_with(|kits| kits.borrow_mut().rooted.pop()).ok().flatten();
            if let Some(kit) = kept {
                kit.scope.iter().for_each(|scope| scope.open_again(place));
                return kit;
            }
        }
        Self::enter(rules, place, parent)
    }

    /// With a scope of its own.
    #[inline(never)]
    fn enter(rules: Option<&Builder>, place: OpenedAt, parent: Option<Arc<Scope>>) -> Box<Self> {
        let none = ScopeOptions::default();
        let options = rules.map_or(&none, |rules| &rules.scope);
        let kept = KITS.try_with(|kits| kits.borrow_mut().bare.pop()).ok().flatten();
        let mut kit = kept.unwrap_or_else(Self::make);
        let owner = Owner::Driver(kit.list.clone().expect("what is kept has its list"));
        let info = Info::new(Kind::Nursery, rules.and_then(|rules| rules.name.clone()), place);
        let scope = Scope::open(parent, options, owner, info);
        if options.shield && scope.parent().is_some() {
            kit.held.raise();
        }
        kit.is_plain = rules.is_none() && scope.parent().is_none();
        kit.watch = rules.and_then(|rules| rules.stuck.clone()).map(Watch::new);
        kit.again = Some(scope.clone());
        kit.scope = Some(scope);
        kit
    }

    #[cold]
    fn make() -> Box<Self> {
        let (list, mut seat) = DriverSeat::new();
        let body = seat.drive(|_| make_idle(&list));
        Box::new(Self {
            scope: None,
            again: None,
            list: Some(list),
            seat: Some(seat),
            body,
            woken: TaskQueue::new(),
            held: HeldChildren::new(),
            timer: Timer::new(),
            watch: None,
            is_plain: false,
        })
    }

    /// The nursery has ended. What is as it was made is kept for the next; `cores` is what the core had, if that
    /// has gone.
    #[inline]
    pub(super) fn close(
        mut self: Box<Self>,
        seat: Option<DriverSeat>,
        cores: Option<(Arc<Scope>, ReadyRef)>,
    ) {
        let (Some(seat), Some(scope), Some((again, list))) = (seat, self.scope.take(), cores)
        else {
            return;
        };
        let is_clean = self.held.is_empty() && self.watch.is_none();
        let is_rooted =
            is_clean && self.is_plain && seat.is_as_made(2, &self.body) && scope.is_as_opened(2);
        if is_rooted {
            (self.scope, self.again) = (Some(scope), Some(again));
        } else {
            drop((scope, again));
            self.timer = Timer::new();
            if !(is_clean && seat.is_as_made(1, &self.body)) {
                return;
            }
        }
        (self.seat, self.list) = (Some(seat), Some(list));
        // A thread that ends keeps nothing.
        let _ = KITS.try_with(|kits| {
            let kits = &mut *kits.borrow_mut();
            let kits = if is_rooted { &mut kits.rooted } else { &mut kits.bare };
            if kits.len() < KEPT {
                kits.push(self);
            }
        });
    }
}

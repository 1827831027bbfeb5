//! One program of nested blocks, its moves, and what the rules say of each of its states. It must
//! derive what it expects from the rules and the events alone, never from the tree.

use nursery_core::{Flight, NurseryId, Outcome, Phase, ScopeId, Settings, Source, Verdict};

use crate::world::{Oops, World};

/// A block that the host enters, and what may happen in it.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// How many children are started in it; `None` for a scope without a nursery.
    pub children: Option<usize>,
    /// How many of them are shielded, the first ones.
    pub shielded: usize,
    pub shield: bool,
    pub collect: bool,
    /// Whether it is cancelled.
    pub cancels: bool,
}

pub const SCOPE: Spec =
    Spec { children: None, shielded: 0, shield: false, collect: false, cancels: true };

pub const fn nursery(children: usize) -> Spec {
    Spec { children: Some(children), ..SCOPE }
}

/// How a child or a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Done,
    Failed,
    Cancelled,
    Bare,
    /// The body fails with an error that a child has failed with.
    Same,
    /// The body is closed: with an error that leaves bare if it is the only one.
    Alone,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub blocks: Vec<Spec>,
    /// The ends of a child.
    pub child: Vec<How>,
    /// The ends of a body.
    pub body: Vec<How>,
    /// How often the host's own `cancel` is called.
    pub asks: usize,
    pub foreign: bool,
    /// An earlier cancellation of the host that it has already heard and stayed with.
    pub heard_before: bool,
    /// An earlier cancellation of the host that waits for its next await.
    pub waits_before: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Move {
    Open,
    /// The host's step throws.
    Step,
    End(How),
    Leave,
    Ask {
        handed: bool,
    },
    Cancel(usize),
    Start(usize),
    ChildStep(usize, usize),
    Child(usize, usize, How),
}

#[derive(Clone, Debug)]
struct Child {
    key: usize,
    shield: bool,
    told: bool,
}

#[derive(Clone)]
struct Block {
    spec: Spec,
    scope: ScopeId,
    nursery: Option<NurseryId>,
    cause: Option<Source>,
    /// The host was told of its cancellation.
    told: bool,
    /// Cancellations from outside that were honoured before.
    baseline: u32,
    children: Vec<Child>,
    started: usize,
    errors: Vec<Oops>,
    bare: Option<Oops>,
    /// One of the errors leaves bare if it is the only one.
    alone: Option<Oops>,
    failed: bool,
    /// The body or a child ended as cancelled, and had heard of it.
    saw_cancellation: bool,
    body_over: bool,
    body_cancelled: bool,
    body_raised: bool,
    held: bool,
}

const HOST: usize = 0;

#[derive(Clone)]
pub struct State {
    world: World,
    blocks: Vec<Block>,
    opened: usize,
    asks: usize,
    errors: usize,
    /// Errors that were reported before, and are not kept.
    again: Vec<Oops>,
    joins: bool,
    over: Option<Flight>,
    /// How many blocks stand around an error that has overtaken a cancellation.
    overtaken: Option<usize>,
    /// The host has heard a cancellation from outside.
    heard: bool,
    /// The host has put something else in place of a cancellation from outside.
    took: bool,
    /// A body ended by a cancellation that was not asked for: of something it awaited.
    spontaneous: bool,
    /// The host has a cancellation in its hands.
    hears: bool,
    first_baseline: u32,
}

impl State {
    pub fn new(plan: &Plan) -> Self {
        let mut world = World::new();
        world.enroll(plan.foreign);
        if plan.heard_before {
            world.ask(HOST, true);
            world.step(HOST);
        }
        if plan.waits_before {
            world.ask(HOST, false);
        }
        Self {
            first_baseline: u32::from(plan.heard_before),
            world,
            blocks: Vec::new(),
            opened: 0,
            asks: 0,
            errors: 0,
            again: Vec::new(),
            joins: false,
            over: None,
            overtaken: None,
            heard: false,
            took: false,
            spontaneous: false,
            hears: false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// All that can happen next.
    pub fn moves(&self, plan: &Plan) -> Vec<Move> {
        let mut moves = Vec::new();
        let host = &self.world.tasks[HOST];
        if self.joins {
            if self.is_closed(self.blocks.len() - 1) {
                moves.push(Move::Leave);
            }
        } else {
            if self.opened < plan.blocks.len() && !host.handed {
                moves.push(Move::Open);
            }
            if self.world.would_throw(HOST) {
                moves.push(Move::Step);
            }
            if !host.handed && !self.blocks.is_empty() {
                moves.extend(
                    plan.body.iter().filter(|how| self.can_end(**how)).map(|&how| Move::End(how)),
                );
            }
        }
        if self.asks < plan.asks {
            if !self.joins && !self.is_shielded() && !self.world.would_throw(HOST) {
                moves.push(Move::Ask { handed: true });
            }
            moves.push(Move::Ask { handed: false });
        }
        for (index, block) in self.blocks.iter().enumerate() {
            if block.cause.is_none() && block.spec.cancels {
                moves.push(Move::Cancel(index));
            }
            if block.started < block.spec.children.unwrap_or(0) && !self.is_closed(index) {
                moves.push(Move::Start(index));
            }
            for (number, child) in block.children.iter().enumerate() {
                if self.world.pending(child.key) {
                    moves.push(Move::ChildStep(index, number));
                }
                moves.extend(plan.child.iter().map(|&how| Move::Child(index, number, how)));
            }
        }
        moves
    }

    fn can_end(&self, how: How) -> bool {
        let top = self.blocks.last().expect("a block to end");
        how != How::Same || !top.errors.is_empty()
    }

    pub fn make(&mut self, plan: &Plan, next: Move) {
        match next {
            Move::Open => {
                // It goes on after what it has heard.
                self.took |= self.heard;
                self.open(plan);
            }
            Move::Step => self.step(),
            Move::End(how) => {
                if how == How::Cancelled && !self.hears {
                    self.spontaneous = true;
                }
                if how != How::Cancelled {
                    self.hears = false;
                    self.took |= self.heard;
                }
                self.end(how, None);
            }
            Move::Leave => self.leave(true),
            Move::Ask { handed } => self.ask(handed),
            Move::Cancel(index) => {
                let scope = self.blocks[index].scope;
                assert!(self.world.cancel(scope), "it was not cancelled yet");
                assert!(!self.world.cancel(scope), "it is cancelled once");
                self.blocks[index].cause = Some(Source::Explicit);
            }
            Move::Start(index) => self.start(index),
            Move::ChildStep(index, number) => {
                let child = &mut self.blocks[index].children[number];
                assert!(self.world.step(child.key).scope);
                child.told = true;
            }
            Move::Child(index, number, how) => self.end_child(index, number, how),
        }
    }

    fn open(&mut self, plan: &Plan) {
        let spec = plan.blocks[self.opened];
        self.opened += 1;
        let settings = Settings { shield: spec.shield, ..Settings::default() };
        let baseline = self.honoured();
        let (scope, nursery) = if spec.children.is_some() {
            let nursery = self.world.open(HOST, settings, spec.collect);
            (self.world.tree.scope(nursery), Some(nursery))
        } else {
            (self.world.enter(HOST, settings), None)
        };
        self.blocks.push(Block {
            spec,
            scope,
            nursery,
            cause: None,
            told: false,
            baseline,
            children: Vec::new(),
            started: 0,
            errors: Vec::new(),
            bare: None,
            alone: None,
            failed: false,
            saw_cancellation: false,
            body_over: false,
            body_cancelled: false,
            body_raised: false,
            held: false,
        });
    }

    fn step(&mut self) {
        let thrown = self.world.step(HOST);
        assert!(thrown.any());
        if thrown.scope {
            for index in self.visible(self.blocks.len()) {
                self.blocks[index].told = true;
            }
            self.overtaken = None;
        }
        self.heard |= thrown.outside;
        self.hears = true;
    }

    fn ask(&mut self, handed: bool) {
        self.asks += 1;
        if !self.joins {
            return self.world.ask(HOST, handed);
        }
        let foreign = self.world.tasks[HOST].foreign;
        let held_back = !foreign && self.is_shielded();
        self.world.ask(HOST, false);
        if foreign {
            // It cancels the join, which holds it.
            self.world.tasks[HOST].requests.deliver();
        }
        if !held_back {
            self.hold();
        }
    }

    /// The host is cancelled from outside while it joins: that goes on to the children (R15).
    fn hold(&mut self) {
        let top = self.blocks.last_mut().expect("a nursery that is joined");
        top.held = true;
        top.cause.get_or_insert(Source::Host);
        self.world.host_cancelled(top.nursery.expect("a nursery that is joined"));
    }

    fn start(&mut self, index: usize) {
        let shield = self.blocks[index].started < self.blocks[index].spec.shielded;
        let cancelled = !shield && self.is_cancelled(index + 1);
        let nursery = self.blocks[index].nursery.expect("a nursery to start in");
        let key = self.world.start(nursery, shield).expect("R2: an open nursery takes children");
        // R17: it is cancelled before its first step.
        assert_eq!(self.world.pending(key), cancelled);
        let block = &mut self.blocks[index];
        block.started += 1;
        block.children.push(Child { key, shield, told: false });
    }

    fn outcome(&mut self, how: How, index: usize) -> Outcome<Oops> {
        match how {
            How::Done => Outcome::Done,
            How::Cancelled => Outcome::Cancelled,
            How::Same => Outcome::Failed(self.blocks[index].errors[0]),
            How::Failed | How::Bare | How::Alone => {
                self.errors += 1;
                raised(how, Oops(self.errors))
            }
        }
    }

    /// What an end means by the rules: errors in order, each object once (R7), the first failure
    /// cancels (R6), a child cancelled by hand changes nothing (R16, R13a).
    fn note(&mut self, index: usize, outcome: &Outcome<Oops>, heard: bool) {
        let block = &mut self.blocks[index];
        let (error, bare, alone) = match outcome {
            Outcome::Done => return,
            Outcome::Cancelled => {
                block.saw_cancellation |= heard;
                return;
            }
            Outcome::Group(_) => unreachable!("no program ends so"),
            Outcome::Failed(error) => (*error, false, false),
            Outcome::Bare(error) => (*error, true, false),
            Outcome::Alone(error) => (*error, false, true),
        };
        if block.errors.contains(&error) || block.bare == Some(error) {
            self.again.push(error);
        } else if bare && block.bare.is_none() {
            block.bare = Some(error);
        } else {
            block.errors.push(error);
            if alone {
                block.alone = Some(error);
            }
        }
        if bare || alone || !block.spec.collect {
            block.failed = true;
            block.cause.get_or_insert(Source::Failure);
        }
    }

    fn end_child(&mut self, index: usize, number: usize, how: How) {
        let child = self.blocks[index].children.remove(number);
        let outcome = self.outcome(how, index);
        self.note(index, &outcome, child.told);
        let closed = self.world.end(child.key, outcome);
        let block = &self.blocks[index];
        let last = block.children.is_empty() && block.body_over;
        assert_eq!(closed, block.nursery.filter(|_| last), "R1: the last one wakes the joiner");
    }

    /// The host leaves its innermost block's body; `error` is the one that it raises, if it is not
    /// a new one.
    fn end(&mut self, how: How, error: Option<Oops>) {
        let index = self.blocks.len() - 1;
        let Some(nursery) = self.blocks[index].nursery else {
            if error.is_none() && matches!(how, How::Failed | How::Bare | How::Alone) {
                self.errors += 1;
            }
            return self.exit(how, error.unwrap_or(Oops(self.errors)));
        };
        let outcome = match error {
            Some(error) => raised(how, error),
            None => self.outcome(how, index),
        };
        self.note(index, &outcome, true);
        let block = &mut self.blocks[index];
        block.body_over = true;
        block.body_raised = how != How::Done;
        if how == How::Cancelled {
            block.body_cancelled = true;
            block.cause.get_or_insert(Source::Host);
        }
        let alone = block.children.is_empty();
        assert_eq!(self.world.body_ended(nursery, outcome), alone, "R3: children are waited for");
        if alone {
            return self.leave(false);
        }
        self.joins = true;
        let waits = self.world.tasks[HOST].requests.is_waiting();
        if waits && (self.world.tasks[HOST].foreign || !self.is_shielded()) {
            // As a face does: what waited for the next await meets the join.
            self.hold();
        }
    }

    fn exit(&mut self, how: How, error: Oops) {
        let above = self.above();
        let shielded_from = self.is_cancelled(self.blocks.len() - 1);
        let block = self.blocks.pop().expect("a scope to leave");
        let outstanding = self.honoured() > block.baseline;
        let own = block.cause.is_some();
        let flight = match how {
            How::Done => Flight::Nothing,
            How::Cancelled => Flight::Cancelled,
            How::Failed | How::Bare | How::Same | How::Alone => Flight::Error,
        };
        let exit = self.world.exit(HOST, block.scope, flight);
        let caught = match flight {
            Flight::Cancelled => own && !above && !outstanding,
            Flight::Error => own && !above && self.overtaken == Some(self.blocks.len() + 1),
            _ => false,
        };
        self.overtaken_goes_on(caught || flight == Flight::Nothing);
        assert_eq!(exit.caught, caught, "R13: it takes back what it has caused, and that alone");
        assert_eq!(exit.absorbs, own && !above && !outstanding, "R13: also out of a group");
        let bare = flight == Flight::Cancelled && block.cause.is_some() && !caught;
        assert_eq!(exit.bare, bare && !shielded_from, "R13: no scope asks for what goes on");
        assert_eq!(exit.cause.map(|cause| cause.source), block.cause);
        if flight == Flight::Cancelled && !caught && shielded_from {
            self.stands_for_above();
        }
        match how {
            How::Cancelled if caught => self.go_on(How::Done, error),
            how => self.go_on(how, error),
        }
    }

    /// The innermost block was left, by an error that has overtaken a cancellation if one was on its way
    /// there: it is on its way in the one around that, unless that is the end of it.
    fn overtaken_goes_on(&mut self, ends: bool) {
        let left = self.blocks.len();
        if self.overtaken == Some(left + 1) {
            self.overtaken = (!ends && left > 0).then_some(left);
        }
    }

    fn leave(&mut self, joined: bool) {
        let above = self.above();
        let shielded_from = self.is_cancelled(self.blocks.len() - 1);
        let held_back = self.is_shielded() && !self.world.tasks[HOST].foreign;
        let mut block = self.blocks.pop().expect("a nursery to leave");
        let host = &mut self.world.tasks[HOST];
        if joined && host.requests.is_waiting() && !held_back {
            host.requests.deliver();
            block.held = true;
        }
        self.joins = false;
        let outstanding = self.honoured() > block.baseline;
        let nursery = block.nursery.expect("a nursery to leave");
        let own = block.cause.is_some_and(|cause| cause != Source::Host);
        let close = self.world.close(HOST, nursery, block.held);
        // R13a: it is left by a cancellation only if one has ended something in it.
        let arrived = block.body_cancelled || block.held || (above && block.saw_cancellation);
        let alone = block.alone.filter(|_| block.errors.len() == 1);
        let expected = match block.bare.or(alone) {
            Some(error) => {
                let beside = block.errors.iter().copied().filter(|other| *other != error);
                Verdict::Bare { error, beside: beside.collect() }
            }
            None if block.errors.is_empty() => Verdict::Clean,
            None => Verdict::Errors(block.errors.clone()),
        };
        assert_eq!(close.verdict, expected, "R7, R9: every error, once, in the order of happening");
        let clean = expected == Verdict::Clean;
        let goes_on = clean && arrived && (outstanding || above || !own);
        assert_eq!(close.cancelled, goes_on, "R13: a cancellation from outside goes on, no other");
        assert_eq!(
            close.overtaken > 0,
            !clean && arrived && outstanding,
            "R13: nor does an error lose it"
        );
        let mut caught = own && !above && (clean && arrived && !outstanding);
        if !block.body_raised {
            // What was on its way in the body was handled there.
            self.overtaken_goes_on(true);
        }
        let here = self.overtaken == Some(self.blocks.len() + 1);
        let bare = matches!(expected, Verdict::Bare { .. });
        if !clean && arrived && (outstanding || above) {
            self.overtaken_goes_on(bare);
            if shielded_from && above {
                if !bare {
                    self.overtaken = Some(self.blocks.len());
                }
                for index in self.visible(self.blocks.len()) {
                    self.blocks[index].told = false;
                }
            }
        } else {
            caught |= !clean && own && !above && here;
            self.overtaken_goes_on(caught || (clean && !arrived));
        }
        caught |= own && !above && block.saw_cancellation && !goes_on;
        assert_eq!(close.exit.caught, caught, "whether it has swallowed a cancellation of its own");
        assert_eq!(close.exit.cause.map(|cause| cause.source), block.cause);
        if goes_on && shielded_from {
            self.stands_for_above();
        }
        match close.verdict {
            Verdict::Clean if goes_on => self.go_on(How::Cancelled, Oops(0)),
            Verdict::Clean => self.go_on(How::Done, Oops(0)),
            Verdict::Bare { error, .. } if block.bare.is_none() => self.go_on(How::Alone, error),
            Verdict::Bare { error, .. } => self.go_on(How::Bare, error),
            Verdict::Errors(_) => {
                self.errors += 1;
                self.go_on(How::Failed, Oops(self.errors));
            }
        }
    }

    /// What has left a block is raised in the one around it, whose body lets it pass.
    fn go_on(&mut self, how: How, error: Oops) {
        self.check();
        self.hears &= how == How::Cancelled;
        if self.blocks.is_empty() {
            self.over = Some(match how {
                How::Cancelled => Flight::Cancelled,
                How::Done => Flight::Nothing,
                _ => Flight::Error,
            });
            return self.check_end();
        }
        match how {
            How::Done => {}
            How::Cancelled => self.end(How::Cancelled, None),
            how => self.end(how, Some(error)),
        }
    }

    fn stands_for_above(&mut self) {
        for index in self.visible(self.blocks.len()) {
            self.blocks[index].told = true;
        }
    }

    // What the rules say

    /// The cancelled blocks that can be seen from inside the first `depth` ones, inside out (R12).
    fn visible(&self, depth: usize) -> Vec<usize> {
        let mut found = Vec::new();
        for index in (0..depth).rev() {
            if self.blocks[index].cause.is_some() {
                found.push(index);
            }
            if self.blocks[index].spec.shield {
                break;
            }
        }
        found
    }

    fn is_cancelled(&self, depth: usize) -> bool {
        !self.visible(depth).is_empty()
    }

    /// Whether the innermost block can see a cancellation from outside it.
    fn above(&self) -> bool {
        let depth = self.blocks.len();
        !self.blocks[depth - 1].spec.shield && self.is_cancelled(depth - 1)
    }

    fn is_shielded(&self) -> bool {
        self.blocks.iter().any(|block| block.spec.shield)
    }

    fn is_closed(&self, index: usize) -> bool {
        self.blocks[index].body_over && self.blocks[index].children.is_empty()
    }

    /// Cancellations of the host from outside that have been honoured.
    fn honoured(&self) -> u32 {
        let host = &self.world.tasks[HOST];
        let waiting = host.requests.asked() - host.requests.honoured();
        host.outside - waiting
    }

    /// The rules that hold in every state.
    pub fn check(&self) {
        self.world.audit();
        let tree = &self.world.tree;
        for (index, block) in self.blocks.iter().enumerate() {
            let cause = tree.cause(block.scope).map(|cause| cause.source);
            assert_eq!(cause, block.cause, "R6, R11, R16: what cancels block {index}");
            let Some(nursery) = block.nursery else { continue };
            let phase = match (block.body_over, block.children.is_empty()) {
                (false, _) => Phase::Open,
                (true, false) => Phase::Joining,
                (true, true) => Phase::Closed,
            };
            assert_eq!(tree.phase(nursery), phase, "R1");
            let keys: Vec<usize> = tree.children(nursery).copied().collect();
            let expected: Vec<usize> = block.children.iter().map(|child| child.key).collect();
            assert_eq!(keys, expected, "R5: those that run, in the order of starting");
            assert_eq!(tree.running(nursery), expected.len());
            if phase == Phase::Closed {
                let refused = self.world.clone().start(nursery, false);
                assert_eq!(refused, None, "R2: a closed nursery takes no child");
            }
            for child in &block.children {
                let cancelled = !child.shield && self.is_cancelled(index + 1);
                assert_eq!(self.world.cancelled(child.key), cancelled, "R12, R19");
                let pending = cancelled && !child.told;
                assert_eq!(self.world.pending(child.key), pending, "R12, R18: told once");
            }
        }
        let expected = self.blocks.iter().flat_map(|block| block.bare.iter().chain(&block.errors));
        let mut expected: Vec<usize> = expected.map(|error| error.0).collect();
        let mut errors: Vec<usize> = tree.errors().map(|error| error.0).collect();
        assert_eq!(self.world.again, self.again, "R7: what is not kept is handed back");
        expected.sort_unstable();
        errors.sort_unstable();
        assert_eq!(errors, expected, "R7: none is lost");
        if self.over.is_none() {
            let visible = self.visible(self.blocks.len());
            assert_eq!(self.world.cancelled(HOST), !visible.is_empty(), "R12: the host");
            let pending = visible.iter().any(|block| !self.blocks[*block].told);
            assert_eq!(self.world.pending(HOST), pending, "R12, R18: the host is told once");
        }
    }

    /// The rules for a program that has ended.
    fn check_end(&self) {
        let flight = self.over.expect("it has ended");
        let host = &self.world.tasks[HOST];
        assert_eq!(host.requests.asked(), host.outside, "R14: the count is what others asked for");
        assert!(!self.world.pending(HOST), "R13: nothing stray waits for the code after the block");
        assert!(host.outside > 0 || !host.requests.is_waiting(), "R13: nothing waits unasked");
        let asked = host.outside - self.first_baseline;
        if asked > 0 && !self.took {
            let honoured = flight == Flight::Cancelled || host.requests.is_waiting() || host.handed;
            assert!(honoured, "R13: a cancellation from outside is lost");
        }
        if flight == Flight::Cancelled {
            let outside = self.honoured() > self.first_baseline;
            assert!(outside || self.spontaneous, "R13: a stray cancellation");
        }
        let mut world = self.world.clone();
        world.withdraw(HOST);
        world.assert_empty();
    }

    /// What decides how it can go on: two orders that lead here share what comes after. Children
    /// of one nursery that are in the same state are the same.
    pub fn key(&self) -> Vec<u8> {
        let host = &self.world.tasks[HOST];
        let mut key = vec![
            self.opened as u8,
            self.asks as u8,
            host.requests.asked() as u8,
            host.requests.honoured() as u8,
            host.outside as u8,
            self.overtaken.map_or(0xFF, |blocks| blocks as u8),
            flags(&[host.handed, self.joins, self.world.pending(HOST)]),
            flags(&[self.heard, self.took, self.spontaneous, self.hears, self.over.is_some()]),
        ];
        for block in &self.blocks {
            let cause = block.cause.map_or(0, |cause| 1 + cause as u8);
            key.extend([0xFF, cause, block.baseline as u8, block.started as u8]);
            let of_errors = [block.bare.is_some(), block.alone.is_some(), block.failed];
            key.extend([block.errors.len() as u8, flags(&of_errors)]);
            let of_body = [block.body_over, block.body_cancelled, block.body_raised, block.held];
            key.push(flags(&[&of_body[..], &[block.told, block.saw_cancellation]].concat()));
            let state = |child: &Child| flags(&[child.shield, child.told]);
            let mut children: Vec<u8> = block.children.iter().map(state).collect();
            children.sort_unstable();
            key.extend(children);
        }
        key
    }
}

/// An end by an error.
fn raised(how: How, error: Oops) -> Outcome<Oops> {
    match how {
        How::Bare => Outcome::Bare(error),
        How::Alone => Outcome::Alone(error),
        _ => Outcome::Failed(error),
    }
}

fn flags(bits: &[bool]) -> u8 {
    bits.iter().fold(0, |all, bit| all << 1 | u8::from(*bit))
}

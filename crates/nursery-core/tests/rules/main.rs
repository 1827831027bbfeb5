//! The rules of the core, checked without any runtime: every order of events of small programs,
//! named cases of scopes, and random programs against a model that knows nothing of the tree.

mod alone;
mod branches;
mod budgets;
mod catching;
mod every_order;
mod handed_back;
mod leaving;
mod moves;
mod orphans;
mod program;
mod random_programs;
mod scopes;
mod services;
mod shown;
mod steps;
mod verdict;
mod watches;
mod world;

//! async_nursery's own tests, on our facade.
#![allow(unused, reason = "each of its files imports the same")]

mod mixed {
    include!(concat!(env!("OUT_DIR"), "/async_nursery_mixed.rs"));
}
mod nursery {
    include!(concat!(env!("OUT_DIR"), "/async_nursery_nursery.rs"));
}
mod resource_cleanup {
    include!(concat!(env!("OUT_DIR"), "/async_nursery_resource_cleanup.rs"));
}
mod returned {
    include!(concat!(env!("OUT_DIR"), "/async_nursery_return.rs"));
}
mod subtask {
    include!(concat!(env!("OUT_DIR"), "/async_nursery_subtask.rs"));
}

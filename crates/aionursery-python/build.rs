//! Tells the compiler which CPython it builds for, so that `cfg(Py_3_12)` and its like work here.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}

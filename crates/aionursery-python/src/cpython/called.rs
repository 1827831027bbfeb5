//! What C sees of functions of ours. The macros here write it: each keeps a panic in, and turns the answer
//! into what C expects. What they call is safe code. They must never say more of what CPython passes than
//! the types in [`function`](super::function) do.

/// A function of ours by CPython's protocol: `method!(no_args Class, c"name", function)`. What it calls is
/// given `&This<Class>`, then `&Object` for `one_arg`, or `Args` for `fast`.
macro_rules! method {
    (no_args $this:ty, $name:literal, $function:expr) => {{
        extern "C" fn call(
            this: $crate::cpython::function::This<'_, $this>,
            _: Option<&$crate::cpython::object::Object>,
        ) -> $crate::cpython::object::Raw {
            $crate::cpython::guard::guard(this.py(), std::ptr::null_mut(), || {
                $crate::cpython::function::answer($function(&this))
            })
        }
        $crate::cpython::function::Method::<$this>::no_args($name, call)
    }};
    (one_arg $this:ty, $name:literal, $function:expr) => {{
        extern "C" fn call(
            this: $crate::cpython::function::This<'_, $this>,
            other: &$crate::cpython::object::Object,
        ) -> $crate::cpython::object::Raw {
            $crate::cpython::guard::guard(this.py(), std::ptr::null_mut(), || {
                $crate::cpython::function::answer($function(&this, other))
            })
        }
        $crate::cpython::function::Method::<$this>::one_arg($name, call)
    }};
    (fast $this:ty, $name:literal, $function:expr) => {{
        extern "C" fn call<'a>(
            this: $crate::cpython::function::This<'a, $this>,
            vector: $crate::cpython::args::Vector<'a>,
            count: $crate::cpython::args::Count<'a, pyo3::ffi::Py_ssize_t>,
            keywords: $crate::cpython::args::Keywords<'a>,
        ) -> $crate::cpython::object::Raw {
            let args = $crate::cpython::args::Args::of_method(vector, count, keywords);
            $crate::cpython::guard::guard(this.py(), std::ptr::null_mut(), || {
                $crate::cpython::function::answer($function(&this, args))
            })
        }
        $crate::cpython::function::Method::<$this>::fast($name, call)
    }};
}
pub(crate) use method;

/// An attribute: `property!(Class, c"name", get)`, or `property!(Class, c"name", get, set)`. What sets it
/// is given None where it is deleted.
macro_rules! property {
    ($this:ty, $name:literal, $get:expr) => {
        $crate::cpython::called::property!(@ $this, $name, $get, None)
    };
    ($this:ty, $name:literal, $get:expr, $set:expr) => {{
        extern "C" fn set(
            this: $crate::cpython::function::This<'_, $this>,
            value: Option<&$crate::cpython::object::Object>,
            _: *mut std::ffi::c_void,
        ) -> std::ffi::c_int {
            $crate::cpython::guard::guard(this.py(), -1, || {
                $set(&this, value).map_or_else($crate::cpython::errors::Raised::negative, |()| 0)
            })
        }
        $crate::cpython::called::property!(@ $this, $name, $get, Some(set))
    }};
    (@ $this:ty, $name:literal, $get:expr, $set:expr) => {{
        extern "C" fn get(
            this: $crate::cpython::function::This<'_, $this>,
            _: *mut std::ffi::c_void,
        ) -> $crate::cpython::object::Raw {
            $crate::cpython::guard::guard(this.py(), std::ptr::null_mut(), || {
                $crate::cpython::function::answer($get(&this))
            })
        }
        $crate::cpython::function::Property::<$this>::new($name, get, $set)
    }};
}
pub(crate) use property;

/// A slot of a class that takes the object and answers with one: `unary!(Class, function)`.
macro_rules! unary {
    ($this:ty, $function:expr) => {{
        extern "C" fn call(
            this: $crate::cpython::function::This<'_, $this>,
        ) -> $crate::cpython::object::Raw {
            $crate::cpython::guard::guard(this.py(), std::ptr::null_mut(), || {
                $crate::cpython::function::answer($function(&this))
            })
        }
        call
    }};
}
pub(crate) use unary;

/// What `__init__` calls: `init!(Class, function)`. That is given the object and `CallArgs`.
macro_rules! init {
    ($this:ty, $function:expr) => {{
        extern "C" fn call(
            this: $crate::cpython::function::This<'_, $this>,
            args: &$crate::cpython::object::Object,
            kwargs: Option<&$crate::cpython::object::Object>,
        ) -> std::ffi::c_int {
            $crate::cpython::guard::guard(this.py(), -1, || {
                let args = $crate::cpython::args::CallArgs::new(args, kwargs);
                $function(&this, args)
                    .map_or_else($crate::cpython::errors::Raised::negative, |()| 0)
            })
        }
        call
    }};
}
pub(crate) use init;

/// What is called before an object goes: `finalize!(Class, function)`.
macro_rules! finalize {
    ($this:ty, $function:expr) => {{
        extern "C" fn call(this: $crate::cpython::function::This<'_, $this>) {
            $crate::cpython::guard::guard(this.py(), (), || $function(&this));
        }
        call
    }};
}
pub(crate) use finalize;

/// What a class of PyO3's is called through, for just that class: subclasses do not inherit it.
/// `class_call!(Class, py, function)`; the function is given the token and `Args`.
macro_rules! class_call {
    ($class:ty, $py:expr, $function:path) => {{
        extern "C" fn call<'a>(
            class: &'a $crate::cpython::object::Object,
            vector: $crate::cpython::args::Vector<'a>,
            count: $crate::cpython::args::Count<'a, usize>,
            keywords: $crate::cpython::args::Keywords<'a>,
        ) -> $crate::cpython::object::Raw {
            let args = $crate::cpython::args::Args::of_call(vector, count, keywords);
            $crate::cpython::guard::guard(class.py(), std::ptr::null_mut(), || {
                $crate::cpython::function::answer($function(class.py(), args))
            })
        }
        $crate::cpython::function::set_call::<$class>($py, call)
    }};
}
pub(crate) use class_call;

//! Functions of ours as CPython calls them. The macros here write what C sees: each makes references of
//! what CPython passes, keeps a panic in, and turns the answer into what C expects. What they call is
//! safe code. A function must never be put where CPython passes something else for `this` than it says:
//! so each definition has that in its type.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ops::Deref;

use pyo3::PyTypeInfo;
use pyo3::ffi;
use pyo3::prelude::*;

use super::errors::{Fallible, Raised, answered, fetch};
use super::object::{Object, Owned, Raw, Typed, object};

/// What a method is called on, for the length of the call.
pub(crate) struct This<'a, T>(&'a Object, PhantomData<&'a T>);

impl<'a, T> This<'a, T> {
    /// # Safety
    /// The object is of the type that `T` is for.
    #[inline]
    pub(crate) unsafe fn new(object: &'a Object) -> Self {
        Self(object, PhantomData)
    }

    /// The object.
    #[inline]
    pub(crate) fn object(&self) -> &'a Object {
        self.0
    }

    #[inline]
    pub(crate) fn py(&self) -> Python<'a> {
        self.0.py()
    }
}

impl<T: Typed> Deref for This<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as for `new`.
        unsafe { T::see(self.0) }
    }
}

/// What CPython is answered: an object, or null where an exception is raised.
#[inline]
pub(crate) fn answer(answer: Fallible<Owned>) -> Raw {
    answer.map_or_else(Raised::null, Owned::into_ptr)
}

/// A function of ours that is called on a `T`: bound to one, or put into a class or the module.
#[repr(transparent)]
pub(crate) struct Method<T = Object>(ffi::PyMethodDef, PhantomData<fn(T)>);

impl<T> std::fmt::Debug for Method<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Method").field(&self.name()).finish()
    }
}

// SAFETY: constant; CPython reads it only.
unsafe impl<T> Sync for Method<T> {}

impl<T> Method<T> {
    /// # Safety
    /// The function takes what the flags say, and for its first argument a `T`.
    pub(crate) const unsafe fn new(
        name: &'static CStr,
        call: ffi::PyMethodDefPointer,
        flags: i32,
    ) -> Self {
        Self(
            ffi::PyMethodDef {
                ml_name: name.as_ptr(),
                ml_meth: call,
                ml_flags: flags,
                ml_doc: std::ptr::null(),
            },
            PhantomData,
        )
    }

    /// `class[item]`, for annotations.
    pub(crate) const fn class_getitem() -> Self {
        let call = ffi::PyMethodDefPointer { PyCFunction: ffi::Py_GenericAlias };
        // SAFETY: it takes the class, whatever that is, and one argument.
        unsafe { Self::new(c"__class_getitem__", call, ffi::METH_O | ffi::METH_CLASS) }
    }

    /// What a table ends with.
    pub(crate) const fn end() -> Self {
        Self(ffi::PyMethodDef::zeroed(), PhantomData)
    }

    /// What a user reads: the signature first, as CPython writes it for its own.
    pub(crate) const fn documented(mut self, text: &'static CStr) -> Self {
        self.0.ml_doc = text.as_ptr();
        self
    }

    pub(super) fn raw(&'static self) -> *mut ffi::PyMethodDef {
        std::ptr::from_ref(&self.0).cast_mut()
    }

    pub(crate) fn name(&self) -> &str {
        // SAFETY: it was made from a static C string.
        unsafe { CStr::from_ptr(self.0.ml_name) }.to_str().unwrap_or_default()
    }

    /// Whether an object is this function.
    pub(crate) fn is(&'static self, object: &Object) -> bool {
        // SAFETY: looked at according to its type.
        unsafe {
            ffi::PyCFunction_CheckExact(object.as_ptr()) != 0
                && (*object.as_ptr().cast::<ffi::PyCFunctionObject>()).m_ml == self.raw()
        }
    }

    fn make(&'static self, this: &Object, module: Raw) -> Fallible<Owned> {
        let nothing = std::ptr::null_mut();
        // SAFETY: the definition is static, what the function is bound to alive.
        unsafe {
            answered(this.py(), ffi::PyCMethod_New(self.raw(), this.as_ptr(), module, nothing))
        }
    }
}

impl<T: Typed> Method<T> {
    /// The function with its first argument.
    pub(crate) fn bind(&'static self, this: &Owned<T>) -> Fallible<Owned> {
        self.make(this.object(), std::ptr::null_mut())
    }
}

impl<T: super::object::Whole> Method<T> {
    /// As [`Self::bind`].
    pub(crate) fn bind_to(&'static self, this: &T) -> Fallible<Owned> {
        self.bind(&Owned::share(this))
    }
}

impl<T: PyTypeInfo> Method<T> {
    /// Becomes a method of a class.
    pub(crate) fn add_to_class(&'static self, py: Python<'_>) -> PyResult<()> {
        py.get_type::<T>().setattr(self.name(), self.for_class(py)?)
    }

    /// Becomes a method of a class below the one that it is for.
    pub(crate) fn add_to_subclass<S: PyTypeInfo>(&'static self, py: Python<'_>) -> PyResult<()> {
        py.get_type::<S>().setattr(self.name(), self.for_class(py)?)
    }

    /// A method for a class or its subclasses, to be put there by somebody else.
    pub(crate) fn for_class<'py>(&'static self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = py.get_type::<T>();
        // SAFETY: the definition is static and for this class, which is ready.
        unsafe {
            let descriptor = ffi::PyDescr_NewMethod(class.as_ptr().cast(), self.raw());
            Bound::from_owned_ptr_or_err(py, descriptor)
        }
    }
}

impl Method {
    /// Becomes a function of the module, with the name `home` for where it is from.
    pub(crate) fn add_to_module_as(
        &'static self,
        module: &Bound<'_, PyModule>,
        home: &str,
    ) -> PyResult<()> {
        let home = super::errors::string(module.py(), home).map_err(|it| fetch(module.py(), it))?;
        let function = self.make(object(module), home.as_ptr());
        let function = function.map_err(|raised| fetch(module.py(), raised))?;
        module.add(self.name(), function.into_bound(module.py()))
    }

    /// Becomes a function of the module.
    pub(crate) fn add_to_module(&'static self, module: &Bound<'_, PyModule>) -> PyResult<()> {
        let name = module.name()?;
        self.add_to_module_as(module, &name.to_cow()?)
    }
}

/// An attribute of `T`'s class that functions of ours get and set.
#[repr(transparent)]
pub(crate) struct Property<T>(ffi::PyGetSetDef, PhantomData<fn(T)>);

// SAFETY: constant; CPython reads it only.
unsafe impl<T> Sync for Property<T> {}

impl<T> Property<T> {
    /// # Safety
    /// The functions take a `T`.
    pub(crate) const unsafe fn new(
        name: &'static CStr,
        get: ffi::getter,
        set: Option<ffi::setter>,
    ) -> Self {
        Self(
            ffi::PyGetSetDef {
                name: name.as_ptr(),
                get: Some(get),
                set,
                doc: std::ptr::null(),
                closure: std::ptr::null_mut(),
            },
            PhantomData,
        )
    }

    /// What a table ends with.
    pub(crate) const fn end() -> Self {
        Self(
            ffi::PyGetSetDef {
                name: std::ptr::null(),
                get: None,
                set: None,
                doc: std::ptr::null(),
                closure: std::ptr::null_mut(),
            },
            PhantomData,
        )
    }
}

/// A function of ours for a slot that takes an object of `T`'s class, and answers with one.
pub(crate) struct Unary<T>(ffi::unaryfunc, PhantomData<fn(T)>);

impl<T> Unary<T> {
    /// # Safety
    /// The function takes a `T`.
    pub(crate) const unsafe fn new(function: ffi::unaryfunc) -> Self {
        Self(function, PhantomData)
    }

    pub(super) fn raw(&self) -> *mut std::ffi::c_void {
        self.0 as *mut std::ffi::c_void
    }
}

/// A function of ours for `tp_init` of `T`'s class.
pub(crate) struct Init<T>(ffi::initproc, PhantomData<fn(T)>);

impl<T> Init<T> {
    /// # Safety
    /// The function takes a `T`.
    pub(crate) const unsafe fn new(function: ffi::initproc) -> Self {
        Self(function, PhantomData)
    }

    pub(super) fn raw(&self) -> *mut std::ffi::c_void {
        self.0 as *mut std::ffi::c_void
    }
}

/// A function of ours for `tp_finalize` of `T`'s class.
pub(crate) struct Finalize<T>(ffi::destructor, PhantomData<fn(T)>);

impl<T> Finalize<T> {
    /// # Safety
    /// The function takes a `T`.
    pub(crate) const unsafe fn new(function: ffi::destructor) -> Self {
        Self(function, PhantomData)
    }

    pub(super) fn raw(&self) -> *mut std::ffi::c_void {
        self.0 as *mut std::ffi::c_void
    }
}

/// A function of ours by CPython's protocol: `method!(no_args Class, c"name", function)`. What it calls is
/// given `&This<Class>`, then `&Object` for `one_arg`, or `Args` for `fast`.
macro_rules! method {
    (no_args $this:ty, $name:literal, $function:expr) => {
        $crate::cpython::function::method!(
            @ $this, $name, PyCFunction, pyo3::ffi::METH_NOARGS, $function,
            (_other: $crate::cpython::object::Raw), ()
        )
    };
    (one_arg $this:ty, $name:literal, $function:expr) => {
        $crate::cpython::function::method!(
            @ $this, $name, PyCFunction, pyo3::ffi::METH_O, $function,
            (other: $crate::cpython::object::Raw),
            ($crate::cpython::object::Object::from_ptr(other))
        )
    };
    (fast $this:ty, $name:literal, $function:expr) => {
        $crate::cpython::function::method!(
            @ $this, $name, PyCFunctionFastWithKeywords,
            pyo3::ffi::METH_FASTCALL | pyo3::ffi::METH_KEYWORDS, $function,
            (
                args: *const $crate::cpython::object::Raw,
                count: pyo3::ffi::Py_ssize_t,
                kwnames: $crate::cpython::object::Raw
            ),
            ($crate::cpython::args::Args::new(args, count as usize, kwnames))
        )
    };
    (
        @ $this:ty, $name:literal, $kind:ident, $flags:expr, $function:expr,
        ($($arg:ident: $type:ty),*), ($($made:expr)?)
    ) => {{
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe extern "C" fn call(
            this: $crate::cpython::object::Raw,
            $($arg: $type),*
        ) -> $crate::cpython::object::Raw {
            // SAFETY: CPython calls, attached, with what is alive for the call: as the flags say, and on
            // what `Method`'s type says. Functions of the module are given that, or null.
            unsafe {
                $crate::cpython::guard::guard(std::ptr::null_mut(), |py| {
                    let this = if this.is_null() {
                        $crate::cpython::object::none_ref(py)
                    } else {
                        $crate::cpython::object::Object::from_ptr(this)
                    };
                    let this = $crate::cpython::function::This::<$this>::new(this);
                    $crate::cpython::function::answer($function(&this $(, $made)?))
                })
            }
        }
        // SAFETY: made for these flags and this class.
        #[allow(unsafe_code, reason = "what C calls")]
        let made = unsafe {
            let call = pyo3::ffi::PyMethodDefPointer { $kind: call };
            $crate::cpython::function::Method::<$this>::new($name, call, $flags)
        };
        made
    }};
}
pub(crate) use method;

/// An attribute: `property!(Class, c"name", get)`, or `property!(Class, c"name", get, set)`. What sets it
/// is given None where it is deleted.
macro_rules! property {
    ($this:ty, $name:literal, $get:expr) => {
        $crate::cpython::function::property!(@ $this, $name, $get, None)
    };
    ($this:ty, $name:literal, $get:expr, $set:expr) => {{
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe extern "C" fn set(
            this: $crate::cpython::object::Raw,
            value: $crate::cpython::object::Raw,
            _: *mut std::ffi::c_void,
        ) -> std::ffi::c_int {
            // SAFETY: CPython calls, attached, on an object of the class, with a value or null.
            unsafe {
                $crate::cpython::guard::guard(-1, |_| {
                    let this = $crate::cpython::object::Object::from_ptr(this);
                    let this = $crate::cpython::function::This::<$this>::new(this);
                    let value = $crate::cpython::object::Object::from_ptr_or_opt(value);
                    $set(&this, value)
                        .map_or_else($crate::cpython::errors::Raised::negative, |()| 0)
                })
            }
        }
        $crate::cpython::function::property!(@ $this, $name, $get, Some(set))
    }};
    (@ $this:ty, $name:literal, $get:expr, $set:expr) => {{
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe extern "C" fn get(
            this: $crate::cpython::object::Raw,
            _: *mut std::ffi::c_void,
        ) -> $crate::cpython::object::Raw {
            // SAFETY: CPython calls, attached, on an object of the class.
            unsafe {
                $crate::cpython::guard::guard(std::ptr::null_mut(), |_| {
                    let this = $crate::cpython::object::Object::from_ptr(this);
                    let this = $crate::cpython::function::This::<$this>::new(this);
                    $crate::cpython::function::answer($get(&this))
                })
            }
        }
        // SAFETY: made for this class.
        #[allow(unsafe_code, reason = "what C calls")]
        let made = unsafe { $crate::cpython::function::Property::<$this>::new($name, get, $set) };
        made
    }};
}
pub(crate) use property;

/// A slot of a class that takes the object and answers with one: `unary!(Class, function)`.
macro_rules! unary {
    ($this:ty, $function:expr) => {{
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe extern "C" fn call(
            this: $crate::cpython::object::Raw,
        ) -> $crate::cpython::object::Raw {
            // SAFETY: CPython calls, attached, on an object of the class.
            unsafe {
                $crate::cpython::guard::guard(std::ptr::null_mut(), |_| {
                    let this = $crate::cpython::object::Object::from_ptr(this);
                    let this = $crate::cpython::function::This::<$this>::new(this);
                    $crate::cpython::function::answer($function(&this))
                })
            }
        }
        // SAFETY: made for this class.
        #[allow(unsafe_code, reason = "what C calls")]
        let made = unsafe { $crate::cpython::function::Unary::<$this>::new(call) };
        made
    }};
}
pub(crate) use unary;

/// What `__init__` calls: `init!(Class, function)`. That is given the object and `CallArgs`.
macro_rules! init {
    ($this:ty, $function:expr) => {{
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe extern "C" fn call(
            this: $crate::cpython::object::Raw,
            args: $crate::cpython::object::Raw,
            kwargs: $crate::cpython::object::Raw,
        ) -> std::ffi::c_int {
            // SAFETY: CPython calls, attached, on an object of the class, with a tuple and a dict or null.
            unsafe {
                $crate::cpython::guard::guard(-1, |_| {
                    let this = $crate::cpython::object::Object::from_ptr(this);
                    let this = $crate::cpython::function::This::<$this>::new(this);
                    let args = $crate::cpython::object::Object::from_ptr(args);
                    let kwargs = $crate::cpython::object::Object::from_ptr_or_opt(kwargs);
                    let args = $crate::cpython::args::CallArgs::new(args, kwargs);
                    $function(&this, args)
                        .map_or_else($crate::cpython::errors::Raised::negative, |()| 0)
                })
            }
        }
        // SAFETY: made for this class.
        #[allow(unsafe_code, reason = "what C calls")]
        let made = unsafe { $crate::cpython::function::Init::<$this>::new(call) };
        made
    }};
}
pub(crate) use init;

/// What is called before an object goes: `finalize!(Class, function)`.
macro_rules! finalize {
    ($this:ty, $function:expr) => {{
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe extern "C" fn call(this: $crate::cpython::object::Raw) {
            // SAFETY: CPython calls, attached, on an object of the class, which is alive for the call.
            unsafe {
                $crate::cpython::guard::guard((), |_| {
                    let this = $crate::cpython::object::Object::from_ptr(this);
                    $function(&$crate::cpython::function::This::<$this>::new(this));
                });
            }
        }
        // SAFETY: made for this class.
        #[allow(unsafe_code, reason = "what C calls")]
        let made = unsafe { $crate::cpython::function::Finalize::<$this>::new(call) };
        made
    }};
}
pub(crate) use finalize;

/// What a class of PyO3's is called through, for just that class: subclasses do not inherit it.
/// `class_call!(Class, py, function)`; the function is given the token and `Args`.
macro_rules! class_call {
    ($class:ty, $py:expr, $function:path) => {{
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe extern "C" fn call(
            _: $crate::cpython::object::Raw,
            args: *const $crate::cpython::object::Raw,
            count: usize,
            kwnames: $crate::cpython::object::Raw,
        ) -> $crate::cpython::object::Raw {
            // SAFETY: CPython calls the class, attached, with a vector of arguments.
            unsafe {
                $crate::cpython::guard::guard(std::ptr::null_mut(), |py| {
                    let count = pyo3::ffi::PyVectorcall_NARGS(count) as usize;
                    let args = $crate::cpython::args::Args::new(args, count, kwnames);
                    $crate::cpython::function::answer($function(py, args))
                })
            }
        }
        let class = $py.get_type::<$class>();
        // SAFETY: a class that is ready, whose slot takes such a function.
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe {
            (*class.as_ptr().cast::<pyo3::ffi::PyTypeObject>()).tp_vectorcall = Some(call);
        }
    }};
}
pub(crate) use class_call;

/// What is called before an object of a class of PyO3's goes, and before the collector takes anything of
/// it apart. PyO3 has no method for this slot. `class_finalize!(Class, py, function)`, before there is an
/// object of the class.
macro_rules! class_finalize {
    ($class:ty, $py:expr, $function:path) => {{
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe extern "C" fn call(this: $crate::cpython::object::Raw) {
            // SAFETY: CPython calls, attached, on an object of the class, which is alive for the call.
            unsafe {
                $crate::cpython::guard::guard((), |_| {
                    let this = $crate::cpython::object::Object::from_ptr(this);
                    $function(&$crate::cpython::function::This::<$class>::new(this));
                });
            }
        }
        let class = $py.get_type::<$class>();
        // SAFETY: a class that is ready, whose slot takes such a function.
        #[allow(unsafe_code, reason = "what C calls")]
        unsafe {
            (*class.as_ptr().cast::<pyo3::ffi::PyTypeObject>()).tp_finalize = Some(call);
        }
    }};
}
pub(crate) use class_finalize;

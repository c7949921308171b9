//! The smallest actor: it has no state and uses no SDK, only wit-bindgen.

wit_bindgen::generate!({ world: "hello-actor", path: "wit", generate_all });

use exports::sample::hello::greeters::{CallError, Guest, GuestGreeter};

struct Component;

struct Greeter {
    key: String,
}

impl Guest for Component {
    type Greeter = Greeter;
}

impl GuestGreeter for Greeter {
    fn new(key: String) -> Self {
        Self { key }
    }

    fn greet(&self, name: String) -> Result<String, CallError> {
        Ok(format!("Hello, {name}! I am {}.", self.key))
    }
}

export!(Component);

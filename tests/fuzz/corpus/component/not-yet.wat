(component (import "quark:actor/timers@0.1.0" (instance (export "set" (func)))))

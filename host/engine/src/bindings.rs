//! What `wit/` means on the host's side: one trait for each service that is built.

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: r#"
        package quark:engine;
        world services {
            import quark:actor/types@0.1.0;
            import quark:actor/context@0.1.0;
            import quark:actor/state@0.1.0;
            import quark:actor/calls@0.1.0;
            import quark:actor/blobs@0.1.0;
            import quark:actor/log@0.1.0;
            import quark:actor/timers@0.1.0;
            import quark:actor/children@0.1.0;
            import quark:actor/journal@0.1.0;
            import quark:actor/reminders@0.1.0;
        }
    "#,
    world: "quark:engine/services",
    imports: {
        "quark:actor/state.commit": async | trappable,
        "quark:actor/calls.call": async | trappable,
        "quark:actor/children.spawn": async | trappable,
        "quark:actor/children.stop": async | trappable,
        "quark:actor/children.watch": async | trappable,
        "quark:actor/journal.read": async | trappable,
        "quark:actor/reminders.registered": async | trappable,
        default: trappable,
    },
    with: { "quark:actor/blobs.blob": crate::host::blobs::Blob },
});

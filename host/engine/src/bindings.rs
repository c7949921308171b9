//! What `wit/` means on the host's side: one trait for each service that is built.
#![expect(unreachable_pub, reason = "generated")]

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
        }
    "#,
    world: "quark:engine/services",
    imports: {
        "quark:actor/state.commit": async | trappable,
        "quark:actor/calls.call": async | trappable,
        default: trappable,
    },
    with: { "quark:actor/blobs.blob": crate::host::blobs::Blob },
});

/// Optional exports, one world each, so that *absent* differs from *mistyped*.
pub mod lifecycle {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: r#"
            package quark:engine;
            world with-lifecycle { export quark:actor/lifecycle@0.1.0; }
        "#,
        world: "quark:engine/with-lifecycle",
        with: { "quark:actor/types": crate::bindings::quark::actor::types },
    });
}

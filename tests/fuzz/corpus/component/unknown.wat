(component (import "quark:actor/stat@0.1.0" (instance (export "get" (func (param "name" string) (result string))))))

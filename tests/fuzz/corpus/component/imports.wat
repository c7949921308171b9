(component
  (import "quark:actor/blobs@0.1.0" (instance $blobs (export "blob" (type (sub resource)))))
  (alias export $blobs "blob" (type $blob))
  (import "quark:actor/log@0.1.0" (instance
    (type $level' (enum "trace" "debug")) (export "level" (type $level (eq $level')))))
  (import "wasi:io/poll@0.2.6" (instance (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (import "other:kind/others@1.2.3" (instance
    (alias outer 1 $blob (type $b)) (export "blob" (type $blob' (eq $b)))
    (export "other" (type $other (sub resource)))
    (export "[constructor]other" (func (param "key" string) (result (own $other))))
    (export "[method]other.ask" (func (param "self" (borrow $other)) (param "it" (own $blob')) (result u32)))
    (export "[method]other.say" (func (param "self" (borrow $other)) (param "it" (list (option string))))))))

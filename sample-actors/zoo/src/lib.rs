//! Every type of WIT, in and out.

use quark_sdk::prelude::*;

quark_sdk::world!("zoo-actor");

#[state]
struct Zoo {
    #[serde(skip)]
    told: State<Option<Animal>>,
}

#[actor]
impl Zoo {
    fn echo_bool(&self, it: bool) -> Result<bool, CallError> {
        Ok(it)
    }

    fn echo_u8(&self, it: u8) -> Result<u8, CallError> {
        Ok(it)
    }

    fn echo_u16(&self, it: u16) -> Result<u16, CallError> {
        Ok(it)
    }

    fn echo_u32(&self, it: u32) -> Result<u32, CallError> {
        Ok(it)
    }

    fn echo_u64(&self, it: u64) -> Result<u64, CallError> {
        Ok(it)
    }

    fn echo_s8(&self, it: i8) -> Result<i8, CallError> {
        Ok(it)
    }

    fn echo_s16(&self, it: i16) -> Result<i16, CallError> {
        Ok(it)
    }

    fn echo_s32(&self, it: i32) -> Result<i32, CallError> {
        Ok(it)
    }

    fn echo_s64(&self, it: i64) -> Result<i64, CallError> {
        Ok(it)
    }

    fn echo_f32(&self, it: f32) -> Result<f32, CallError> {
        Ok(it)
    }

    fn echo_f64(&self, it: f64) -> Result<f64, CallError> {
        Ok(it)
    }

    fn echo_char(&self, it: char) -> Result<char, CallError> {
        Ok(it)
    }

    fn echo_string(&self, it: String) -> Result<String, CallError> {
        Ok(it)
    }

    fn echo_list(&self, it: Vec<u64>) -> Result<Vec<u64>, CallError> {
        Ok(it)
    }

    fn echo_strings(&self, it: Vec<String>) -> Result<Vec<String>, CallError> {
        Ok(it)
    }

    fn echo_bytes(&self, it: Vec<u8>) -> Result<Vec<u8>, CallError> {
        Ok(it)
    }

    fn echo_tuple(&self, it: (u8, String, bool)) -> Result<(u8, String, bool), CallError> {
        Ok(it)
    }

    fn echo_record(&self, it: Point) -> Result<Point, CallError> {
        Ok(it)
    }

    fn echo_nested(&self, it: Animal) -> Result<Animal, CallError> {
        Ok(it)
    }

    fn echo_animals(&self, it: Vec<Animal>) -> Result<Vec<Animal>, CallError> {
        Ok(it)
    }

    fn echo_variant(&self, it: Shape) -> Result<Shape, CallError> {
        Ok(it)
    }

    fn echo_enum(&self, it: Color) -> Result<Color, CallError> {
        Ok(it)
    }

    fn echo_flags(&self, it: Marks) -> Result<Marks, CallError> {
        Ok(it)
    }

    fn echo_option(&self, it: Option<u64>) -> Result<Option<u64>, CallError> {
        Ok(it)
    }

    fn echo_option_option(&self, it: Option<Option<u64>>) -> Result<Option<Option<u64>>, CallError> {
        Ok(it)
    }

    fn echo_result(&self, it: Result<u32, String>) -> Result<Result<u32, String>, CallError> {
        Ok(it)
    }

    fn echo_result_ok(&self, it: Result<u32, ()>) -> Result<Result<u32, ()>, CallError> {
        Ok(it)
    }

    fn echo_result_err(&self, it: Result<(), String>) -> Result<Result<(), String>, CallError> {
        Ok(it)
    }

    fn echo_result_bare(&self, it: Result<(), ()>) -> Result<Result<(), ()>, CallError> {
        Ok(it)
    }

    fn echo_blob(&self, it: Blob) -> Result<Blob, CallError> {
        Ok(it)
    }

    fn nothing(&self) -> Result<(), CallError> {
        Ok(())
    }

    fn several(&self, a: u8, b: String, c: Vec<Point>) -> Result<(u8, String, Vec<Point>), CallError> {
        Ok((a, b, c))
    }

    fn bare(&self, it: u64) -> u64 {
        it
    }

    fn tell(&self, it: Animal) {
        self.told.set(Some(it));
    }

    fn told(&self) -> Result<Option<Animal>, CallError> {
        Ok(self.told.get())
    }

    async fn animal_via(&self, key: String, it: Animal) -> Result<Animal, CallError> {
        zoos::Zoo::new(&key).echo_nested(&it).await
    }

    async fn blob_via(&self, key: String, it: Blob) -> Result<Blob, CallError> {
        zoos::Zoo::new(&key).echo_blob(it).await
    }

    async fn bare_via(&self, key: String, it: u64) -> Result<u64, CallError> {
        Ok(zoos::Zoo::new(&key).bare(it).await)
    }

    async fn tell_via(&self, key: String, it: Animal) -> Result<(), CallError> {
        zoos::Zoo::new(&key).tell(&it).await;
        Ok(())
    }
}

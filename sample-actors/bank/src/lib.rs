//! Accounts that send money to one another. No money is made or lost, whatever crashes.

use quark_sdk::prelude::*;

quark_sdk::world!("bank-actor");

#[state]
struct Account {
    balance: State<u64>,
}

#[actor]
impl Account {
    fn deposit(&self, amount: u64) -> Result<u64, AccountError> {
        let balance = self.balance.get().checked_add(amount).ok_or(AccountError::Overflow)?;
        self.balance.set(balance);
        Ok(balance)
    }

    fn withdraw(&self, amount: u64) -> Result<u64, AccountError> {
        let balance = self.balance.get();
        let rest = balance.checked_sub(amount).ok_or(AccountError::Insufficient(balance))?;
        self.balance.set(rest);
        Ok(rest)
    }

    fn balance(&self) -> Result<u64, AccountError> {
        Ok(self.balance.get())
    }

    /// The new balance and the tell are one commit, and the tell is handled exactly once.
    async fn transfer(&self, to: String, amount: u64) -> Result<u64, AccountError> {
        let rest = self.withdraw(amount)?;
        accounts::Account::new(&to).credit(amount).await;
        Ok(rest)
    }

    /// Called with an idempotency key it has its effect once on both sides, however often it is repeated: the
    /// deposit gets a key of its own, and the withdrawal is committed with the answer.
    async fn pay(&self, to: String, amount: u64) -> Result<u64, AccountError> {
        let rest = self.withdraw(amount)?;
        match accounts::Account::new(&to).deposit(amount).await {
            Ok(_) => Ok(rest),
            // Perhaps it was done. Nothing is answered, so nothing is remembered, and a repeat finds out.
            Err(AccountError::Call(error)) => panic!("whether {to} has the money is not known: {error:?}"),
            Err(refused) => {
                self.deposit(amount)?;
                Err(refused)
            }
        }
    }

    /// Nobody waits for a tell, so there is nobody to tell an error: what cannot be done traps, and
    /// the host keeps the message.
    fn credit(&self, amount: u64) {
        self.deposit(amount).expect("the account is full");
    }

    async fn balance_of(&self, key: String) -> Result<u64, AccountError> {
        accounts::Account::new(&key).balance().await
    }

    async fn audit(&self, others: Vec<String>) -> Result<u64, AccountError> {
        let Some((next, rest)) = others.split_first() else {
            return self.balance();
        };
        let theirs = accounts::Account::new(next).audit(rest).await?;
        self.balance()?.checked_add(theirs).ok_or(AccountError::Overflow)
    }
}

(() => {
  // The page of a server on this machine: it asks whether the store has changed, and loads itself again.
  const ask = async () => {
    try {
      const answer = await fetch("version", { cache: "no-store" });
      const version = await answer.text();
      if (answer.ok && ask.version && version !== ask.version) location.reload();
      if (answer.ok) ask.version = version;
    } catch {
      return; // the server has ended; the page stays as it is
    }
  };
  ask();
  setInterval(ask, 5000);
})();

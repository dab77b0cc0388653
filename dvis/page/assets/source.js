"use strict";

// Where documents and pictures come from: a server that reads the store (live), or files beside the
// page (static), which scripts bring in because a page from file:// may not fetch.
(function (dvis) {
  const facts = JSON.parse(document.getElementById("page-facts").textContent);
  const isLive = facts.mode === "live";
  const documents = new Map();
  const expected = new Map();

  function fileName(name) {
    return name.replace(/\//g, "_");
  }

  async function fetched(name) {
    const answer = await fetch(`api/${name}`, { cache: "no-store" });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      throw new Error(told.error || `The server answered ${answer.status} to ${name}`);
    }
    return answer.json();
  }

  function loaded(name) {
    return new Promise((resolve, reject) => {
      expected.set(name, resolve);
      const script = dvis.element("script", {
        src: `data/${fileName(name)}.js`,
        on: {
          load: () => script.remove(),
          error: () => {
            script.remove();
            expected.delete(name);
            reject(new Error(`This page was made without ${name}; make it again with more in it`));
          },
        },
      });
      document.head.append(script);
    });
  }

  /** What a file of a static page holds; each calls this. */
  function receive(name, content) {
    const resolve = expected.get(name);
    expected.delete(name);
    if (resolve) resolve(content);
  }

  /** A document by its name, read once until `forget`. */
  function read(name) {
    if (!documents.has(name)) {
      const promise = isLive ? fetched(name) : loaded(name);
      promise.catch(() => documents.delete(name));
      documents.set(name, promise);
    }
    return documents.get(name);
  }

  /** Whether notes may be written here. */
  const canWrite = isLive && Boolean(facts.token);

  /** Send a document to the server, after which all are read anew. */
  async function write(name, content) {
    const answer = await fetch(`api/${name}`, {
      method: "POST", cache: "no-store", body: JSON.stringify(content),
      headers: { "content-type": "application/json", "x-dvis-token": facts.token },
    });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(told.error || `The server answered ${answer.status} to ${name}`);
    forget();
    return told;
  }

  /** What changes when the store does. */
  async function signature() {
    return (await fetched("signature")).signature;
  }

  function forget() {
    documents.clear();
  }

  /** Address of a picture; `version` changes when it does. */
  function picture(name, version, suffix) {
    if (isLive) return `pictures/${name}?v=${encodeURIComponent(version || "")}`;
    return `pictures/${fileName(name)}.${suffix || "jpg"}`;
  }

  dvis.source = { facts, isLive, canWrite, read, write, signature, forget, receive, picture };
})((window.dvis = window.dvis || {}));

// What ReDoc writes into the page needs the page's nonce, which a script's own element tells it.
const { dataset, nonce } = document.currentScript;
Redoc.init(dataset.schema, { nonce }, document.getElementById("redoc"));
